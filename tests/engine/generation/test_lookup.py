"""Names in tags to files."""

import time

import pytest

from engine.errors import PromptError
from engine.generation.lookup import MOST_ADVICE, AdapterNames, find_adapter

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


def test_thousands_of_tags_in_a_library_of_thousands():
    library = {f"folder{number % 20}/lora-{number}": f"word_{number}" for number in range(5000)}
    began = time.perf_counter()
    names = AdapterNames(library)
    for number in range(5000):
        path = f"folder{number % 20}/lora-{number}"
        assert names.find(path) == names.find(f"LoRA-{number}") == names.find(f"word_{number}") == path
    assert time.perf_counter() - began < 1


def test_of_very_many_unknown_names_the_first_are_advised_on():
    names, advised = AdapterNames({f"lora-{number}": None for number in range(100)}), 0
    for _ in range(3 * MOST_ADVICE):
        with pytest.raises(PromptError) as caught:
            names.find("lora-1x")
        assert caught.value.code == "prompt.adapter_unknown"
        advised += bool(caught.value.values["nearest"])
    assert advised == MOST_ADVICE
