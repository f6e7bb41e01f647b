"""Prompts that choose: what can come out, how often, the same for the same seed, and never an endless one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import PromptError
from engine.generation.prompt import parse_tags
from engine.generation.wildcards import MAX_LISTS, expand

FRAGMENTS = st.sampled_from(
    ["{", "}", "|", "[", "]", "\\", "__a__", "__sub/b__", "__loop__", "__", "_", "2$$", "0.5::", "a", " ", "(b:1.2)"]
)
PROMPTS = st.lists(FRAGMENTS | st.text(max_size=3), max_size=30).map("".join)
MANY = 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    lists = tmp_path_factory.mktemp("wildcards")
    files = {
        "a": "\ufeff# colours\nred\n\n  blue \n",
        "sub/b": "{one|two} __a__\r\n",
        "色": "赤\n",
        "loop": "x __loop__",
        "ring": "__ring2__ __ring2__",
        "ring2": "__ring__",
        "empty": "# nothing\n\n",
    }
    for name, text in files.items():
        (lists / f"{name}.txt").parent.mkdir(exist_ok=True)
        (lists / f"{name}.txt").write_text(text, "utf-8", newline="")
    (lists / "old.txt").write_bytes("桜".encode("cp932"))
    (lists.parent / "secret.txt").write_text("secret")
    return lists


def outcomes(prompt: str, folder: Path, draws: int = 60) -> set[str]:
    return {expand(prompt, seed, folder) for seed in range(draws)}


@pytest.mark.parametrize(
    ("prompt", "expect"),
    [
        ("a {red|blue} cat", {"a red cat", "a blue cat"}),
        ("{a|}b", {"ab", "b"}),
        ("{a|{b|c}}", {"a", "b", "c"}),
        ("{x {a|b}|y}", {"x a", "x b", "y"}),
        ("{0::a|b|0.0::c}", {"b"}),
        ("{0::a|0::b}", {"a", "b"}),
        ("{2$$a|b|c}", {f"{x}, {y}" for x in "abc" for y in "abc" if x != y}),
        ("{5$$a|b}", {"a, b", "b, a"}),
        ("{0$$a|b}", {""}),
        ("{1$$0::a|b}", {"b"}),
        ("__a__ __ 色 __", {"red __ 色 __", "blue __ 色 __"}),
        ("__色__", {"赤"}),
        ("__sub/b__", {f"{x} {y}" for x in ("one", "two") for y in ("red", "blue")}),
        ("{__a__|green}", {"red", "blue", "green"}),
        ("<lora:{x|y}:0.5> (a:1.2) [b|c] [d:{e|f}:3]", {f"<lora:{x}:0.5> (a:1.2) [b|c] [d:{e}:3]" for x in "xy" for e in "ef"}),
        ("{[a|b]|c}", {"[a|b]", "c"}),
        ("{:[|:)}", {":[", ":)"}),
    ],
)  # fmt: skip
def test_everything_that_is_named_can_come_out_and_nothing_else(folder, prompt, expect):
    assert outcomes(prompt, folder) == expect


@pytest.mark.parametrize(
    "prompt",
    ["{a}", "{}", "a | b", "{a|b", "a|b}", "[a|b]", r"\{a|b\}", r"{a\|b}", "({a}:1.2)", "{2$$a}", "a_b __ c", "_____", "{[a|b]}"],
)
def test_what_offers_no_choice_is_text(folder, prompt):
    assert expand(prompt, 1, folder, pytest.fail) == prompt


def test_weights_are_how_often(folder):
    counts = Counter(expand("{3::a|b}", seed, folder) for seed in range(2000))
    assert 0.70 < counts["a"] / 2000 < 0.80


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("gone", "prompt.list_unknown"), ("empty", "prompt.list_unreadable"), ("old", "prompt.list_unreadable"),
        ("a/../../secret", "prompt.list_unknown"), ("a" * 300, "prompt.list_unknown"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_drawn_from_is_told_once_and_its_name_stays(folder, name, code):
    problems: list[PromptError] = []
    prompt = f"__{name}__, __a__, __{name}__"
    assert expand(prompt, 0, folder, problems.append) in {prompt.replace("__a__", colour) for colour in ("red", "blue")}
    assert [(problem.code, problem.values["name"]) for problem in problems] == [(code, name)]


def test_the_nearest_names_are_told(folder):
    problems: list[PromptError] = []
    expand("__sub/bb__", 0, folder, problems.append)
    assert problems[0].values["nearest"] == "sub/b"
    expand("__a__", 0, folder / "gone", problems.append)
    assert problems[1].code == "prompt.list_unknown"


@pytest.mark.parametrize("prompt", ["__loop__", "__ring__", "__a__ " * (MAX_LISTS + 1)])
def test_lists_without_end_are_an_error(folder, prompt):
    with pytest.raises(PromptError) as caught:
        expand(prompt, 0, folder)
    assert caught.value.code == "prompt.list_loop"


@given(PROMPTS, st.integers(0, 2**32 - 1))
@settings(max_examples=1000, deadline=None)
def test_no_prompt_raises_and_a_seed_is_a_choice(folder, prompt, seed):
    prompt = prompt.replace("loop", "a")
    chosen = expand(prompt, seed, folder)
    assert chosen == expand(prompt, seed, folder)
    assert parse_tags(chosen)[0].count("{") <= prompt.count("{")


@pytest.mark.parametrize(
    "prompt",
    [
        "{a|" * MANY + "b" + "}" * MANY, "{" * MANY + "|}" * MANY, "{" + "[|" * MANY + "}", "{[|" * MANY + "}" * MANY,
        "__gone" * MANY, "_" * MANY, "{a|b}" * MANY, "{1$$" * MANY + "0.5::" * MANY, "{" + "a|" * 1000 + "}",
    ],
)  # fmt: skip
def test_ten_thousand_of_anything_answer_within_100_ms(folder, prompt):
    def once() -> float:
        started = time.process_time()  # other work on the machine does not count
        expand(prompt, 0, folder)
        return time.process_time() - started

    assert min(once() for _ in range(3)) < 0.1


def test_no_torch_is_imported():
    check = "import sys, engine.generation.wildcards, engine.styles, engine.embedding_files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[3]).returncode == 0
