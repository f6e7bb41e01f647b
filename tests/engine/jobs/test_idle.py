"""A worker without a job: it hashes the models, a piece at a time, and drops it for whoever wants something."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from engine import library
from engine.file_notes import FileNotes
from engine.formats import hashes
from engine.formats.hashes import known_hashes, model_hashes
from engine.jobs import idle
from engine.jobs.idle import Hasher
from engine.workspace import Workspace
from tests.support.tiny import tiny_sd1_single_file


@pytest.fixture
def models(workspace: Workspace) -> list[Path]:
    """Two files of more than one piece, one that is no model, and one that cannot be read."""
    folder = workspace.root / "models" / "checkpoints"
    files = [tiny_sd1_single_file(folder / "a.safetensors"), folder / "b.ckpt"]
    for file in (files[1], folder / "no-model.safetensors"):
        file.write_bytes(os.urandom(hashes.OLD.stop + 5))
    (folder / "gone.safetensors").symlink_to(folder / "nowhere")
    return files


def test_every_hash_is_known_in_the_end(workspace: Workspace, models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "SLICE_SECONDS", 0)
    monkeypatch.setattr(hashes, "PIECE", 2**20)
    hasher = Hasher(workspace)
    rounds = 0
    while hasher.go_on():
        rounds += 1
    assert rounds >= 4  # each file in two pieces
    listed = {card.path: card.sha256 for card in library.models(workspace)}
    assert listed.pop(library.STARTER_FOLDER) and listed.pop(models[0].with_name("no-model.safetensors")) == ""
    known = known_hashes(models, FileNotes(workspace.cache))
    assert listed == {path: found.sha256 for path, found in known.items()}
    assert {path: found.sha256 for path, found in known.items()} == {
        path: hashlib.sha256(path.read_bytes()).hexdigest() for path in models
    }
    for path in models:
        assert known[path].old == hashlib.sha256(path.read_bytes()[0x100000:0x110000]).hexdigest()[:8]
    assert not hasher.go_on()  # for a while it does not even look


def test_what_is_known_is_not_read_again(workspace: Workspace, models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = Hasher(workspace)
    while hasher.go_on():
        pass
    monkeypatch.setattr(hashes, "_remembered", {})
    monkeypatch.setattr(hashes, "_hash_file", lambda path: pytest.fail("it was hashed twice"))
    assert model_hashes(models[0], FileNotes(workspace.cache)).sha256 == hashlib.sha256(models[0].read_bytes()).hexdigest()
    assert model_hashes(models[0]).short  # this process has learnt it


def test_a_file_that_changes_while_it_is_read_has_no_hash(
    workspace: Workspace, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "PIECE", 2**20)
    notes = FileNotes(workspace.cache)
    pieces = hashes.hash_in_pieces(models[0], notes)
    next(pieces)
    models[0].write_bytes(b"another")
    assert list(pieces) is not None and known_hashes(models[:1], notes) == {}
