"""The prompt grammar against its vectors, and what must hold for every prompt."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.generation.prompt import (
    BREAK,
    MAX_WEIGHT,
    chunk_tokens,
    count_tokens,
    find_problems,
    parse_attention,
    parse_schedule,
    parse_tags,
    split_composable,
    strip_comments,
)

VECTORS = json.loads((Path(__file__).parents[2] / "fixtures" / "prompt_vectors.json").read_text("utf-8"))
FRAGMENTS = st.sampled_from(
    [
        "(",
        ")",
        "[",
        "]",
        ":",
        "|",
        "<",
        ">",
        "\\",
        "#",
        ",",
        " ",
        "\n",
        "BREAK",
        "AND",
        "lora",
        "<lora:",
        "a",
        "1",
        ".5",
        "1.2",
        "@",
        "=",
    ]
)
PROMPTS = st.lists(FRAGMENTS | st.text(max_size=4), max_size=40).map("".join)
MANY = 10_000


def rows(kind: str):
    return [pytest.param(row, id=row["id"]) for row in VECTORS[kind]]


def words(text: str) -> list[int]:
    """A stand-in tokenizer: one token a word, 0 for a comma."""
    return [0 if word == "," else 1 for word in text.replace(",", " , ").split()]


@pytest.mark.parametrize("row", rows("attention"))
def test_attention(row):
    pieces = parse_attention(row["prompt"])
    assert [text for text, _ in pieces] == [text for text, _ in row["expect"]]
    assert [weight for _, weight in pieces] == pytest.approx([weight for _, weight in row["expect"]], abs=1e-6)


@pytest.mark.parametrize(
    ("prompt", "expect"),
    [
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(a BREAK b:1.3)", [("a", 1.3), ("BREAK", -1.0), ("b", 1.3)]),
        ("((a:1.5) b)", [("a", 1.65), (" b", 1.1)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.0), (" c", 1 / 1.1)]),
        ("a:1.2)", [("a:1.2)", 1.0)]),
    ],
)
def test_attention_beyond_the_vectors(prompt, expect):
    pieces = parse_attention(prompt)
    assert [text for text, _ in pieces] == [text for text, _ in expect]
    assert [weight for _, weight in pieces] == pytest.approx([weight for _, weight in expect])


@pytest.mark.parametrize("row", rows("schedule"))
def test_schedule(row):
    stages = parse_schedule(row["prompt"], row["steps"], row["hires_steps"])
    assert [list(stage) for stage in stages] == row["expect"]


@pytest.mark.parametrize(
    ("prompt", "hires_steps", "expect"),
    [
        ("[a:[b:c:6]:3]", None, [(3, "a"), (6, "b"), (10, "c")]),
        ("[x:y:2] [a|b:0.5] [c", None, [(2, "x [a|b:0.5] [c"), (10, "y [a|b:0.5] [c")]),
        ("[a:b:12]", 4, [(2, "a"), (4, "b")]),
        ("[a:b:1.5]", 4, [(2, "a"), (4, "b")]),
        ("[a:b:1e999]", None, [(10, "a")]),
    ],
)
def test_schedule_beyond_the_vectors(prompt, hires_steps, expect):
    assert parse_schedule(prompt, 10, hires_steps) == expect


@pytest.mark.parametrize("row", rows("composable"))
def test_composable(row):
    assert [list(part) for part in split_composable(row["prompt"])] == row["expect"]


@pytest.mark.parametrize("row", rows("chunks"))
def test_chunk_lengths(row):
    long = {
        "C1": "w " * 75,
        "C2": "w " * 76,
        "C3": "w " * 70 + ", " + "w " * 10,
        "C4": "w " * 55 + ", " + "w " * 40,
        "C5": "w " * 54 + ", " + "w " * 40,
    }
    chunks = chunk_tokens(parse_attention(long.get(row["id"]) or row["prompt"]), words, comma=0, begin=8, end=9)
    assert [chunk.used for chunk in chunks] == row["expect"]


def test_a_chunk_is_begin_tokens_end_padding_with_the_weights_of_the_words():
    (chunk,) = chunk_tokens(parse_attention("a (b, c:1.5)"), words, comma=0, begin=8, end=9, pad=7)
    assert chunk.tokens == (8, 1, 1, 0, 1, 9, *[7] * 71)
    assert chunk.weights == (1.0, 1.0, 1.5, 1.5, 1.5, *[1.0] * 72)


def test_an_embedding_is_never_split():
    def tokenize(text):
        return [token for word in text.split() for token in ([500, 501, 502, 503] if word == "style" else [1])]

    first, second = chunk_tokens([("w " * 73 + "style w", 1.0)], tokenize, comma=0, begin=8, end=9, embeddings={500: 4})
    assert first.used == 73
    assert second.tokens[1:6] == (500, 501, 502, 503, 1)


@pytest.mark.parametrize(
    ("prompt", "expect"),
    [("", (0, 75)), ("w " * 76, (76, 150)), ("a <lora:b:1> c # d", (2, 75)), ("a AND b c d", (3, 75)), ("[a|b c]", (2, 75))],
)
def test_the_longest_stage_is_counted(prompt, expect):
    assert count_tokens(prompt, words) == expect


def test_comments_end_with_their_line():
    assert strip_comments("a # b\nc#d\ne") == "a \nc\ne"


def test_a_weight_beyond_the_limit_is_told():
    assert parse_attention("(a:99999)") == [("a", MAX_WEIGHT)]
    assert [problem.code for problem in find_problems("(a:99999)")] == ["prompt.weight"]
    assert find_problems("a (b:1.2) [c:d:0.5] [e|f] <lora:g:0.8> AND h :-0.5", "(ugly:1.3), \\(\\[") == []


@pytest.mark.parametrize(
    ("prompt", "negative", "expect"),
    [
        ("(a:1.2.3) (b:1,2) (c:1e2) (d:1,2)", "", [("prompt.weight_unread", weight) for weight in ("1.2.3", "1,2", "1e2")]),
        ("(at 16:9) (a:b:c) (a:.) (a: -1 )", "", []),
        ("((a) b :( c", "", [("prompt.unclosed", "((a) b :( c")]),
        ("a [b", "c (d", [("prompt.unclosed", "[b"), ("prompt.unclosed", "(d")]),
        ("(a AND b)", "", [("prompt.unclosed", "(a")]),
        ("a", "b <lora:c:0.5>", [("prompt.tag_negative", "<lora:c:0.5>")]),
        ("a # (", "b # [", []),
    ],
)
def test_what_does_not_do_what_it_says_is_told(prompt, negative, expect):
    told = [
        (problem.code, next(str(problem.values[key]) for key in ("weight", "text", "tag") if key in problem.values))
        for problem in find_problems(prompt, negative)
    ]
    assert told == expect


@given(PROMPTS)
@settings(max_examples=5000, deadline=None)
def test_no_prompt_raises_text_and_tags_are_lossless_and_weights_finite(prompt):
    text, tags = parse_tags(prompt)
    rebuilt, copied = [], 0
    for tag in tags:
        rebuilt += [text[copied : tag.position], tag.source]
        copied = tag.position
    assert "".join(rebuilt) + text[copied:] == prompt
    for part, factor in split_composable(text):
        assert math.isfinite(factor)
        for end, stage in parse_schedule(part, 20):
            assert 1 <= end <= 20
            pieces = parse_attention(stage)
            assert all(math.isfinite(weight) for _, weight in pieces)
            chunks = chunk_tokens(pieces, words, comma=0, begin=8, end=9)
            assert all(len(chunk.tokens) == len(chunk.weights) == 77 for chunk in chunks)
            assert sum(chunk.used for chunk in chunks) == sum(
                len(words(piece)) for piece, weight in pieces if (piece, weight) != BREAK
            )
    assert all(math.isfinite(strength) for tag in tags for step in (1, 10, 20) for strength in tag.strengths(step, 20))
    find_problems(prompt, prompt)


@given(st.text(alphabet="ab ,\n", max_size=60), st.integers(1, 30))
@settings(deadline=None)
def test_plain_text_passes_unchanged(text, steps):
    assert parse_tags(text) == (text, [])
    assert parse_schedule(text, steps) == [(steps, text)]
    assert parse_attention(text) == [(text, 1.0)]


@pytest.mark.parametrize(
    ("read", "prompt"),
    [
        pytest.param(parse_attention, "(" * MANY + "a" + ")" * MANY, id="attention round"),
        pytest.param(parse_attention, "[" * MANY + "a" + "]" * MANY, id="attention square"),
        pytest.param(parse_attention, "(a" * MANY, id="attention unclosed"),
        pytest.param(parse_attention, "(a:" + "1" * MANY + " " * MANY, id="attention number without end"),
        pytest.param(parse_attention, " " * MANY + "BREAK" + " " * MANY, id="break in spaces"),
        pytest.param(lambda text: parse_schedule(text, 20), "[" * MANY + "a" + "]" * MANY, id="schedule square"),
        pytest.param(lambda text: parse_schedule(text, 20), "[a" * MANY, id="schedule unclosed"),
        pytest.param(lambda text: parse_schedule(text, 20), "[a:" * MANY + "b" + "]" * MANY, id="schedule without numbers"),
        pytest.param(lambda text: parse_schedule(text, 20), "[a:" * MANY + "b" + ":3]" * MANY, id="schedule nested"),
        pytest.param(parse_tags, "<lora:a:0.5>" * MANY, id="tags"),
        pytest.param(parse_tags, "<lora:a:x>" * MANY, id="bad tags"),
        pytest.param(parse_tags, "<lora:a" * MANY, id="tags unclosed"),
        pytest.param(split_composable, "a :1 AND " * MANY, id="and"),
        pytest.param(find_problems, "(" * MANY + "a" + ")" * MANY, id="problems of nested brackets"),
        pytest.param(find_problems, "(a:1,2)" * MANY, id="problems of weights"),
        pytest.param(find_problems, "<lora:a:0.5>" * MANY, id="problems of tags"),
    ],
)
def test_ten_thousand_of_anything_answer_within_100_ms(read, prompt):
    def once() -> float:
        started = time.process_time()  # other work on the machine does not count
        read(prompt)
        return time.process_time() - started

    assert min(once() for _ in range(5)) < 0.1


def test_no_torch_is_imported():
    check = "import sys, engine.generation.prompt; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[3]).returncode == 0
