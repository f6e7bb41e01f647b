"""Thousands of adapter files: read a few at a time, remembered over a restart, listed at once; names as tags know them."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine import adapter_library
from engine.adapter_library import named_adapters, short_names
from engine.file_notes import FileNotes
from engine.generation.lookup import find_adapter
from engine.workspace import Workspace
from tests.engine.test_library import lora, put

TAGS = json.dumps({"10_x": {f"tag {n}": n for n in range(40)}})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


def forget() -> None:
    """As after a restart."""
    adapter_library._kept.clear()


def test_five_thousand_files_are_a_list_at_once_when_they_have_been_read(workspace: Workspace) -> None:
    content = lora(1, ss_output_name="x", ss_tag_frequency=TAGS, **{"modelspec.trigger_phrase": "mofumo"})
    for number in range(5000):
        put(workspace.loras / f"s{number % 20}" / f"{number:04}.safetensors", content)
    began = time.perf_counter()
    first = named_adapters(workspace, seconds=0.1)
    assert time.perf_counter() - began < 1
    assert len(first) == 5000 and any(card.unread for card in first.values())
    cards = named_adapters(workspace)
    assert not any(card.unread or card.problem for card in cards.values())
    began = time.process_time()
    assert named_adapters(workspace, seconds=0) == cards
    assert time.process_time() - began < 0.3


def test_what_was_read_is_known_after_a_restart(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(
        workspace.loras / "a" / "x.safetensors",
        lora(2, ss_tag_frequency=TAGS, ss_clip_skip="2", **{"modelspec.description": "\ud800 half"}),
    )
    put(workspace.loras / "cut.safetensors", lora()[:-5])
    cards = named_adapters(workspace)
    assert cards["a/x"].summary and cards["a/x"].summary.clip_skip == 2 and cards["cut"].problem
    forget()
    monkeypatch.setattr(adapter_library, "describe", lambda file: pytest.fail(f"{file} was read again"))
    (workspace.loras / "cut.safetensors").unlink()
    assert named_adapters(workspace) == {"a/x": cards["a/x"]}
    monkeypatch.undo()
    put(file, lora(3))
    assert named_adapters(workspace)["a/x"].summary.modules == {"unet": 3}  # type: ignore[union-attr]
    forget()
    card = named_adapters(workspace)["a/x"]
    FileNotes(workspace.cache).write(adapter_library.NOTE, file, "{}", (card.summary.size, card.mtime_ns))  # type: ignore[union-attr]
    forget()
    assert named_adapters(workspace)["a/x"] == card  # a note of another make is none


def test_what_else_a_tag_may_call_a_file_is_what_finds_it(workspace: Workspace) -> None:
    for name, alias in {
        "a/one": "First",
        "b/two": "same",
        "c/three": "same",
        "d/one2": "one",
        "one": "",
        "e/Mixed": "mixed",
        "f/x": "x",
    }.items():
        put(workspace.loras / f"{name}.safetensors", lora(ss_output_name=alias))
    cards = named_adapters(workspace)
    others = short_names(cards, cards)
    assert others == {
        "a/one": ["First"], "b/two": ["two"], "c/three": ["three"], "d/one2": ["one2"], "one": [], "e/Mixed": ["Mixed", "mixed"], "f/x": ["x"],
    }  # fmt: skip
    names = {name: card.summary.output_name for name, card in cards.items() if card.summary}
    assert all(find_adapter(word, names) == name for name, words in others.items() for word in words)


def test_unread_cards_are_told_from_broken_ones(workspace: Workspace) -> None:
    put(workspace.loras / "x.safetensors", lora())
    (card,) = named_adapters(workspace, seconds=-1).values()
    assert card.unread and card.summary is None and card.problem is None and card.mtime_ns > 0
    (read,) = named_adapters(workspace).values()
    assert replace(read, summary=None) == replace(card, unread=False)
