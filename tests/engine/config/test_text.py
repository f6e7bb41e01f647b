"""Settings as YAML: what is written is read back, and nothing is read that settings do not need."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.text import dump, parse

VALUES = [
    ("1e-4", 1e-4), ("1E5", 1e5), ("-2.50", -2.5), (".5", 0.5), ("5.", 5.0), ("0", 0), ("-7", -7), ("0.0", 0.0), ("+1.5e+3", 1500.0),
    ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("[a, 1]", ["a", 1]),
    ("yes", "yes"), ("no", "no"), ("on", "on"), ("007", "007"), ("12:30", "12:30"), ("2026-11-24", "2026-11-24"), ("0x10", "0x10"),
    ("1_000", "1_000"), (".inf", ".inf"), ("1girl", "1girl"), ("1e", "1e"), ("1.2.3", "1.2.3"), ('"5"', "5"), ("日本語, 猫", "日本語, 猫"),
]  # fmt: skip
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
words = st.sampled_from([text for text, _ in VALUES])
data = st.dictionaries(st.text(max_size=6), leaves | words | st.lists(leaves | words, max_size=3), max_size=4)


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_words_mean_what_they_look_like(text: str, value: object) -> None:
    read = parse(text)
    assert read == value and type(read) is type(value)


@given(data)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(data: dict) -> None:
    assert parse(dump(data)) == data


HOSTILE = {
    "object": "!!python/object/apply:os.system ['touch canary']",
    "name": "a: !!python/name:os.system",
    "module": "!!python/module:os",
    "own tag": "a: !thing 1",
    "alias": "a: &x [1]\nb: *x",
    "laughs": "a: &a [x,x,x]\n" + "\n".join(f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "merge key": "a: &x {b: 1}\nc:\n  <<: *x",
    "doubled": "seed: 1\nseed: 2",
    "doubled inside": "training: {seed: 1, seed: 2}",
    "deep": "[" * 3_000,
    "deep map": "{a: " * 3_000,
    "two documents": "a: 1\n---\nb: 2",
    "binary": "a: \0",
    "tab": "a:\n\t- 1",
    "open": "a: [1",
    "list as key": "? [a]\n: 1",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_settings_do_not_need_is_refused_at_once(text: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert 0 < len(str(caught.value)) <= 300 and time.process_time() - began < 1
    assert not list(tmp_path.iterdir())
