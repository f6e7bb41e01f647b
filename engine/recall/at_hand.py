"""What is at hand of the files that a picture names: by hash, which outlives a new name, else by name.

Imports no torch. Nothing is hashed here but adapters whose header does not state their hash, and embeddings, which are small;
of models the hashes that are in the notes count. A name is looked up among the files of the workspace and is never a path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Literal, NamedTuple

from engine import library
from engine.adapter_library import named_adapters
from engine.embedding_files import embedding_files
from engine.errors import EngineError
from engine.file_notes import FileNotes
from engine.formats.hashes import adapter_hash, known_hashes
from engine.generation.lookup import AdapterNames
from engine.model_facts import STARTER, STARTER_FOLDER
from engine.workspace import Workspace, stamp

HASH_LENGTHS = range(8, 65)
"""Hexadecimal digits of what is believed to be a hash."""
SECONDS = 5.0
"""For hashing adapters, which is kept; the rest is hashed the next time."""
NOTE = "adapter hash"


class Found(NamedTuple):
    """A file here.

    Attributes:
        name: as a setting or a tag has it.
        by: what it was found by. "other": it has the name, and another hash.
    """

    name: str
    by: Literal["hash", "name", "other"]


def model_called(name: str, digest: str, workspace: Workspace) -> Found | None:
    """A base model by the first digits of its SHA-256, or of its old hash, or by its name."""
    models = {STARTER: STARTER_FOLDER, **library.model_names(workspace)}
    found = _among(name, digest, models, workspace)
    if found is None and library.HUB_ID.fullmatch(name) and library.downloaded(name):
        return Found(name, "name")
    return found


def vae_called(name: str, digest: str, workspace: Workspace) -> Found | None:
    return _among(name, digest, library.part_names(workspace.vae_folders), workspace)


def text_encoder_called(name: str, workspace: Workspace) -> Found | None:
    return _among(name, "", library.part_names(workspace.text_encoder_folders), workspace)


def _among(name: str, digest: str, files: Mapping[str, Path], workspace: Workspace) -> Found | None:
    digest = _hash(digest)
    known = known_hashes(files.values(), FileNotes(workspace.cache)) if digest else {}
    fits = {path for path, kept in known.items() if digest in (kept.old, kept.sha256[: len(digest)])}
    wanted = bare(name)
    called = [each for each, path in files.items() if wanted and wanted in (bare(each), bare(path.name))]
    for each in [*called, *files]:
        if files[each] in fits:
            return Found(each, "hash")
    return Found(called[0], "other" if files[called[0]] in known else "name") if called else None


class AdaptersAtHand:
    """The adapters of the workspace, looked through once for all tags of a picture."""

    def __init__(self, workspace: Workspace) -> None:
        self._cards = {name: card for name, card in named_adapters(workspace).items() if card.summary}
        self._names = AdapterNames({name: card.summary.output_name or None for name, card in self._cards.items()})
        self._stated = {name: card.summary.model_hash.lower() for name, card in self._cards.items()}
        self._notes = FileNotes(workspace.cache)
        self._until = monotonic() + SECONDS

    def called(self, name: str, digest: str) -> Found | None:
        """An adapter by its hash or its name, as a tag calls it; the file of that name comes first when its hash fits."""
        called, digest = self._find(name), _hash(digest)
        same = self._of_content(digest, called) if digest else ""
        if same and same != called:
            short = same.rpartition("/")[2]
            return Found(short if self._find(short) == same else same, "hash")
        return Found(name, "hash" if same else "other" if digest else "name") if called else None

    def _find(self, name: str) -> str:
        try:
            return self._names.find(name)
        except EngineError:
            return ""

    def _of_content(self, digest: str, called: str) -> str:
        """The adapter whose tensors have this hash, "" for none; the one that is called so comes first.

        What a header states is believed, except of the one that is called so.
        """
        ordered = sorted(self._cards, key=lambda name: name != called)
        for name in ordered:
            if self._stated[name].startswith(digest):
                return name
        unstated = {name: self._cards[name].path for name in ordered if name == called or not self._stated[name]}
        kept = self._notes.read_all(NOTE, list(unstated.values()))
        for name, file in unstated.items():
            if file not in kept and monotonic() < self._until:
                seen = stamp(file)
                with suppress(EngineError, OSError):  # it has gone
                    kept[file] = adapter_hash(file)
                    self._notes.write(NOTE, file, kept[file], seen)
            if kept.get(file, "").startswith(digest):
                return name
        return ""


def embedding_called(word: str, digest: str, workspace: Workspace) -> Found | None:
    """An embedding by the SHA-256 of its file, or by its word."""
    files, digest = embedding_files(workspace), _hash(digest)
    called = next((each for each in files if each.casefold() == word.casefold()), "")
    for each in [*([called] if called else []), *files]:
        if digest and _sha256(files[each], *stamp(files[each])).startswith(digest):
            return Found(each, "hash")
    return Found(called, "other" if digest else "name") if called else None


def _hash(written: str) -> str:
    """A hash in small letters, "" for what is none."""
    digest = written.strip().removeprefix("0x").lower()
    return digest if len(digest) in HASH_LENGTHS and re.fullmatch("[0-9a-f]+", digest) else ""


def bare(name: str) -> str:
    """A file's name without its ending, upper and lower case alike."""
    name = name.strip().casefold()
    return next((name.removesuffix(ending) for ending in (library.WEIGHTS, *library.PICKLED) if name.endswith(ending)), name)


@lru_cache(maxsize=1024)
def _sha256(file: Path, size: int, mtime_ns: int) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:  # it has gone
        return ""
