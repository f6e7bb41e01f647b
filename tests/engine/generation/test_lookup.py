"""Names in tags to files."""

import pytest

from engine.errors import PromptError
from engine.generation.lookup import find_adapter

LIBRARY = {"dog": "my-dog", "styles/ink": None, "old/cat": "cat-v1", "new/cat": "cat-v2", "Fox": None, "fox": None}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("dog", "dog"), (" dog ", "dog"), ("my-dog", "dog"), ("DOG", "dog"),
        ("ink", "styles/ink"), ("styles/ink", "styles/ink"), ("styles\\ink", "styles/ink"), ("Styles/Ink", "styles/ink"),
        ("cat-v2", "new/cat"), ("new/cat", "new/cat"), ("Fox", "Fox"), ("fox", "fox"),
    ],
)  # fmt: skip
def test_found(name, path):
    assert find_adapter(name, LIBRARY) == path


@pytest.mark.parametrize(("name", "candidates"), [("cat", "new/cat, old/cat"), ("FOX", "Fox, fox")])
def test_ambiguous_names_are_told_never_guessed(name, candidates):
    with pytest.raises(PromptError) as caught:
        find_adapter(name, LIBRARY)
    assert caught.value.code == "prompt.adapter_ambiguous"
    assert caught.value.values["candidates"] == candidates


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(PromptError) as caught:
        find_adapter("my-dgo", LIBRARY)
    assert caught.value.code == "prompt.adapter_unknown"
    assert "my-dog" in str(caught.value)
    with pytest.raises(PromptError, match="no adapter named"):
        find_adapter("zzzzzz", {})
