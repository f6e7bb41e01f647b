"""AUTOMATIC1111's styles.csv: read, written and applied."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import PromptError
from engine.styles import Style, apply_styles, read_styles, styles_file, write_styles
from engine.workspace import Workspace

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
STYLES = st.dictionaries(WORDS.filter(bool), st.builds(Style, WORDS, WORDS), max_size=5)


def test_what_other_programs_wrote_is_read(tmp_path):
    workspace = Workspace(tmp_path)
    assert read_styles(workspace) == {}
    styles_file(workspace).write_bytes(
        "\ufeffname,prompt,negative_prompt\r\n"
        'oil,"oil painting of {prompt}, ""thick"" paint","photo,\nblurry"\r\n'
        "水彩,watercolor\r\n"
        ",lost,\r\n"
        "oil2,,\r\n".encode()
    )
    assert read_styles(workspace) == {
        "oil": Style('oil painting of {prompt}, "thick" paint', "photo,\nblurry"),
        "水彩": Style("watercolor", ""),
        "oil2": Style("", ""),
    }


@given(STYLES)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read(styles):
    with TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        write_styles(workspace, styles)
        assert read_styles(workspace) == styles
        assert list(read_styles(workspace)) == list(styles)
        assert styles_file(workspace).read_bytes().startswith(b"\xef\xbb\xbfname,prompt,negative_prompt\r\n")


@pytest.mark.parametrize(
    "content", [b"title,text\r\na,b\r\n", b"name,prompt\r\na,b\r\n", "name,prompt,negative_prompt\n桜".encode("cp932")]
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, content):
    styles_file(Workspace(tmp_path)).write_bytes(content)
    with pytest.raises(PromptError) as caught:
        read_styles(Workspace(tmp_path))
    assert caught.value.code == "styles.unreadable" and caught.value.values["reason"]


@pytest.mark.parametrize(
    ("names", "expect"),
    [
        ([], ("a cat", " ugly ")),
        (["oil"], ("oil painting of a cat, thick", "ugly, photo")),
        (["plain", "oil"], ("oil painting of a cat, plain, thick", "ugly, photo")),
        (["oil", "plain"], ("oil painting of a cat, thick, plain", "ugly, photo")),
        (["nothing"], ("a cat", " ugly ")),
        (["twice"], ("a cat and a cat", " ugly ")),
    ],
)
def test_a_style_surrounds_the_prompt_or_follows_it(names, expect):
    styles = {
        "oil": Style("oil painting of {prompt}, thick", "photo"),
        "plain": Style("plain ", " "),
        "nothing": Style(),
        "twice": Style("{prompt} and {prompt}", "{prompt}"),
    }
    assert apply_styles("a cat", " ugly ", names, styles) == (*expect, [])


def test_a_style_alone_is_the_prompt():
    assert apply_styles(" ", "", ["a"], {"a": Style("b", "c")}) == ("b", "c", [])


def test_an_unknown_style_is_told_with_the_nearest_and_the_others_stay():
    prompt, negative, (problem,) = apply_styles("a", "", ["waterclor", "oil"], {"watercolor": Style("w"), "oil": Style("o")})
    assert (prompt, negative) == ("a, o", "")
    assert (problem.code, problem.values) == ("prompt.style_unknown", {"name": "waterclor", "nearest": "watercolor"})


@given(WORDS, STYLES)
@settings(max_examples=100, deadline=None)
def test_the_words_of_prompt_and_style_are_all_there(prompt, styles):
    told, _, problems = apply_styles(prompt, "", list(styles), styles)
    assert problems == []
    if not any("{prompt}" in style.prompt for style in styles.values()):
        assert [part for part in [prompt, *(style.prompt for style in styles.values())] if part.strip() not in told] == []
