"""Adapter tags: vectors, options, and what happens to a tag that cannot be honoured."""

import json
from pathlib import Path

import pytest

from engine.errors import PromptError
from engine.generation.prompt import find_problems, parse_tags
from engine.generation.tags import interpolate

VECTORS = json.loads((Path(__file__).parents[2] / "fixtures" / "prompt_vectors.json").read_text("utf-8"))["tags"]


def one(prompt):
    text, (tag,) = parse_tags(prompt)
    assert text == ""
    return tag


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in VECTORS])
def test_vectors(row):
    text, tags = parse_tags(row["prompt"])
    assert text == row["text"]
    assert [{"name": tag.name, "text_encoder": tag.text_encoder, "unet": tag.unet} for tag in tags] == row["adapters"]
    assert all(tag.problem is None for tag in tags)


def test_numbers_are_read_as_python_reads_them():
    assert one("<lora:a: 1e-1 >").unet == 0.1
    assert one("<lora:a:.5>").unet == 0.5


@pytest.mark.parametrize(
    ("arguments", "text_encoder", "unet"),
    [("unet=0.5", 1.0, 0.5), ("te=0.5", 0.5, 0.5), ("te=0.5:0.9", 0.5, 0.5), ("2:unet=0", 2.0, 0.0)],
)
def test_named_strengths_win_and_a_lone_unet_leaves_the_text_encoder(arguments, text_encoder, unet):
    tag = one(f"<lora:a:{arguments}>")
    assert (tag.text_encoder, tag.unet) == (text_encoder, unet)


def test_spaces_around_the_name_go_and_an_equals_sign_in_it_stays():
    assert one("<lora: my dog :1>").name == "my dog"
    tag = one("<lora:a=b:0.5>")
    assert (tag.name, tag.unet) == ("a=b", 0.5)


def test_duplicates_stay_two_tags():
    _, tags = parse_tags("<lora:a:1><lora:a:0.5>")
    assert [tag.unet for tag in tags] == [1.0, 0.5]


def test_options():
    tag = one("<lora:a:1:0.5:4:lbw=OUTD:start=3:stop=0.5>")
    assert tag.options == {"dyn": 4, "lbw": "OUTD", "start": 3, "stop": 0.5}
    assert one("<lora:a:1:lbw=" + ",".join("1" * 12) + ">").options["lbw"] == (1.0,) * 12


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("<lora:a:0,8>", "prompt.tag_value"),
        ("<lora:a:>", "prompt.tag_value"),
        ("<lora:a:1.2.3>", "prompt.tag_value"),
        ("<lora:a:nan>", "prompt.tag_value"),
        ("<lora:a:1e999>", "prompt.tag_value"),
        ("<lora:a:1:1:OUTD>", "prompt.tag_value"),
        ("<lora:a:lbw=1,0>", "prompt.tag_value"),
        ("<lora:a:lbw=nonsense>", "prompt.tag_value"),
        ("<lora:a:start=-1>", "prompt.tag_value"),
        ("<lora:a:stop=1.5>", "prompt.tag_value"),
        ("<lora:a:1@0.5,0@0.5>", "prompt.tag_value"),
        ("<lora:a:1@0,2>", "prompt.tag_value"),
        ("<lora: :1>", "prompt.tag_name"),
        ("<foo:a:1>", "prompt.tag_kind"),
        ("<LORA:a:1>", "prompt.tag_kind"),
    ],
)
def test_a_bad_tag_is_told_and_the_others_stay_in_force(prompt, code):
    text, (good, bad, last) = parse_tags(f"x <lora:good:0.8>{prompt} y<lora:last>")
    assert text == "x  y"
    assert isinstance(bad.problem, PromptError) and bad.problem.code == code
    assert prompt in bad.problem.what
    assert (good.problem, last.problem) == (None, None)
    assert [problem.code for problem in find_problems(prompt)] == [code]


def test_an_unknown_option_is_noted_and_the_tag_stays_in_force():
    tag = one("<lora:a:0.5:hr=0.3>")
    assert tag.problem is None and tag.unet == 0.5
    assert [note.code for note in tag.notes] == ["prompt.tag_option"]
    assert "hr=0.3" in tag.notes[0].what


def test_strength_between_start_and_stop():
    tag = one("<lora:a:0.5:2:start=3:stop=0.5>")
    in_force = [step for step in range(1, 11) if tag.strengths(step, 10) == (0.5, 2.0)]
    assert in_force == [3, 4, 5]
    assert tag.strengths(6, 10) == (0.0, 0.0)
    assert one("<lora:a:start=0.5>").strengths(5, 10) == (0.0, 0.0)
    assert one("<lora:a:start=0.5>").strengths(6, 10) == (1.0, 1.0)


def test_stepwise_strength_is_linear_between_its_points():
    tag = one("<lora:a:0@0,1@0.5,0@1>")
    assert [tag.strengths(step, 5)[1] for step in range(1, 6)] == [0.0, 0.5, 1.0, 0.5, 0.0]
    assert (tag.text_encoder, tag.unet) == (1.0, 1.0)
    assert one("<lora:a:0.5:1@2,0@4>").strengths(3, 5) == (0.5, 0.5)


def test_stepwise_strength_is_constant_outside_its_points():
    assert [interpolate(((0.2, 3), (0.6, 4)), step, 5) for step in (1, 3, 4, 5)] == [0.2, 0.2, 0.6, 0.6]
    assert interpolate(((0.7, 0),), 1, 1) == 0.7
