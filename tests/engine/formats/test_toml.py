from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.formats.toml import dump_toml

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
values = st.recursive(
    st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, max_size=5))
def test_what_is_written_is_read_back(data):
    text = dump_toml(data)
    assert tomllib.loads(text) == data
    assert tomllib.loads(text.replace("\n", "\r\n")) == data


@pytest.mark.parametrize(
    "text", [r"C:\new\table\ustar", "猫の絵 🐱", 'it\'s "quoted"', "a\tb\r\nc\x00\x1f\x7f", "'''", '"""', "# no comment", ""]
)
def test_texts_with_a_meaning_in_toml_are_kept(text):
    assert tomllib.loads(dump_toml({"key": text, text: [text]})) == {"key": text, text: [text]}


def test_tables_and_lists_of_tables_are_written_as_people_do():
    data = {"general": {"flip": True}, "datasets": [{"size": 512, "subsets": [{"dir": "a", "more": {"x": 1}}, {"dir": "b"}]}]}
    assert dump_toml(data) == (
        '[general]\nflip = true\n\n[[datasets]]\nsize = 512\n\n[[datasets.subsets]]\ndir = "a"\n\n[datasets.subsets.more]\nx = 1\n\n'
        '[[datasets.subsets]]\ndir = "b"\n'
    )


@pytest.mark.parametrize(("value", "error"), [("\udce9", ValueError), (None, TypeError), ({"a": object()}, TypeError)])
def test_what_toml_cannot_hold_is_refused(value, error):
    with pytest.raises(error):
        dump_toml({"key": value})
