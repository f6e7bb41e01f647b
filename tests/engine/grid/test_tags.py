"""Tags are changed in place: what is not changed stays, and the prompt says the same before and after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.generation.tags import parse_tags
from engine.grid.tags import call, retag, rewrite, without_tags


def changed(source: str, **changes: str) -> str:
    (tag,) = parse_tags(source)[1]
    return retag(tag, **changes)


@pytest.mark.parametrize(
    ("source", "changes", "result"),
    [
        ("<lora:a>", {"text_encoder": "0.5", "unet": "0.5"}, "<lora:a:0.5>"),
        ("<lora:a:0.8>", {"unet": "0.5"}, "<lora:a:0.8:0.5>"),
        ("<lora:a:0.8:0.6>", {"text_encoder": "0"}, "<lora:a:0:0.6>"),
        ("<lora:a:unet=0.6>", {"text_encoder": "0.2"}, "<lora:a:0.2:0.6>"),
        ("<lora:a:te=0.6>", {"unet": "0.2"}, "<lora:a:0.6:0.2>"),
        ("<lora:a:1:1:8>", {"text_encoder": "0.5", "unet": "0.5"}, "<lora:a:0.5:dyn=8>"),
        ("<lora:a:1:lbw=OUTD:start=2>", {"unet": "0", "text_encoder": "0"}, "<lora:a:0:lbw=OUTD:start=2>"),
        ("<lora:a:1@0,0@0.5>", {"name": "b"}, "<lora:b:1@0,0@0.5>"),
        ("<lyco: a :0.7>", {"name": "b/c"}, "<lyco:b/c:0.7>"),
    ],
)
def test_a_tag_with_something_changed(source: str, changes: dict[str, str], result: str) -> None:
    assert changed(source, **changes) == result


strengths = st.decimals(-2, 2, places=2).map(lambda number: f"{number:f}")
tags = st.one_of(
    st.sampled_from(
        ["<lora:a>", "<lora:b:unet=0.4>", "<lyco:c:0.5:0.25:4:lbw=INS>", "<lora:d:1@0,0@1:stop=3>", "<lora:>", "<x:y>"]
    ),
    st.tuples(strengths, strengths).map(lambda pair: f"<lora:e:{pair[0]}:{pair[1]}>"),
)
prompts = st.lists(st.one_of(st.sampled_from(["a cat", ", ", "<", ":", ">", "(red:1.2)"]), tags), max_size=8).map("".join)


@given(prompts)
def test_a_tag_written_anew_says_the_same(prompt: str) -> None:
    again = rewrite(prompt, lambda tag: tag.source if tag.problem else retag(tag))
    text, told = parse_tags(prompt)
    same_text, same_told = parse_tags(again)
    meaning = [(tag.kind, tag.name, tag.text_encoder, tag.unet, tag.options) for tag in told]
    assert text == same_text and meaning == [(tag.kind, tag.name, tag.text_encoder, tag.unet, tag.options) for tag in same_told]


@given(prompts, strengths)
def test_a_new_strength_is_the_only_change(prompt: str, strength: str) -> None:
    again = rewrite(prompt, lambda tag: tag.source if tag.problem else retag(tag, text_encoder=strength, unet=strength))
    for tag in parse_tags(again)[1]:
        if not tag.problem:
            assert (tag.text_encoder, tag.unet) == (float(strength), float(strength)) and "unet_steps" not in tag.options


@given(prompts)
def test_nothing_changed_is_the_prompt_and_all_taken_out_is_its_text(prompt: str) -> None:
    assert rewrite(prompt, lambda tag: tag.source) == prompt
    assert rewrite(prompt, lambda tag: "") == without_tags(prompt) == parse_tags(prompt)[0]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", "a cat <lora:new:0.8>"),
        ("", "<lora:new:0.8>"),
        ("a cat <lora:old:1:lbw=INS>, red", "a cat <lora:new:0.8:lbw=INS>, red"),
        ("<lora:style:0.5> a cat", "<lora:style:0.5> a cat <lora:new:0.8>"),
        ("<lora:old:1> a <lora:new:0.2>cat", "<lora:new:0.8> a cat"),
        ("a cat <lora:old:x>", "a cat <lora:old:x> <lora:new:0.8>"),
    ],
)
def test_an_adapter_is_called_once(prompt: str, expected: str) -> None:
    assert call(prompt, {"old", "new"}, "new", "0.8") == expected


def test_an_adapter_is_called_with_two_strengths() -> None:
    assert call("a <lora:old>", {"old"}, "new", "0.5:1") == "a <lora:new:0.5:1>" == call("a", {"old"}, "new", "0.5:1")
