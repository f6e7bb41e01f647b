"""The adapter files at hand, told by their headers alone.

Imports no torch. What a header says is kept in memory and, so that a folder of thousands is read once and not at every start, in
the file notes; both by size and modification time: a replaced file is never stale.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path
from stat import S_ISREG
from time import monotonic

from pydantic import TypeAdapter, ValidationError

from engine.errors import EngineError, PromptError
from engine.file_notes import FileNotes
from engine.formats.adapter_file import PICKLES
from engine.formats.summary import AdapterSummary, describe, unopened
from engine.generation.lookup import AdapterNames, find_adapter
from engine.workspace import Workspace

ENDINGS = (".safetensors", *PICKLES)
"""Of two files that differ in their endings alone, the first is meant."""
NOTE = "adapter 1"
"""Kind of the notes on files; counted up when a summary says more than before."""
KEPT = 20_000
"""Cards kept in memory, the oldest dropped first."""

Stamp = tuple[int, int]
_kept: dict[str, tuple[Stamp, AdapterCard]] = {}


@dataclass(frozen=True)
class AdapterCard:
    """An adapter file in the list.

    Attributes:
        name: of the file, without its ending.
        summary: None where the file cannot be read, which `problem` tells, or is `unread`: nobody has looked into it yet.
        mtime_ns: of the file, ns.
    """

    name: str
    path: Path
    summary: AdapterSummary | None
    problem: EngineError | None = None
    mtime_ns: int = 0
    unread: bool = False


def named_adapters(workspace: Workspace, seconds: float = inf) -> dict[str, AdapterCard]:
    """What a tag calls it (its path below its LoRA folder, without ending) -> card; newest first.

    Where two folders hold a file of the same name, the workspace's own is the one.

    Args:
        seconds: after so long what is new is listed unread.
    """
    found: dict[str, tuple[str, Stamp]] = {}
    for folder in workspace.lora_folders:
        for name, path, stamp in _files(str(folder)):
            found.setdefault(name, (path, stamp))
    newest = sorted(found.items(), key=lambda entry: -entry[1][1][1])
    cards = {name: _kept[path][1] if _kept.get(path, ((), None))[0] == stamp else None for name, (path, stamp) in newest}
    new = {found[name][0]: found[name][1] for name, card in cards.items() if card is None}
    read = _read(new, workspace, seconds) if new else {}
    return {name: card or read[found[name][0]] for name, card in cards.items()}


def adapters(workspace: Workspace) -> list[AdapterCard]:
    """All adapter files of the LoRA folders, newest first."""
    return list(named_adapters(workspace).values())


def adapter_names(workspace: Workspace) -> dict[str, tuple[Path, str | None]]:
    """Path below its LoRA folder without ending -> (file, name it was trained under); what a tag is looked up in."""
    cards = named_adapters(workspace)
    return {name: (card.path, _alias(card)) for name, card in sorted(cards.items())}


def find_adapter_file(name: str, workspace: Workspace) -> Path:
    """The adapter file a user means, named as in a tag.

    Raises:
        PromptError: `prompt.adapter_unknown` with the nearest names, `prompt.adapter_ambiguous`.
    """
    names = adapter_names(workspace)
    return names[find_adapter(name, {path: alias for path, (_, alias) in names.items()})][0]


def short_names(cards: Mapping[str, AdapterCard], asked: Iterable[str]) -> dict[str, list[str]]:
    """Of the cards that are asked for: what else a tag may call them, the file's name alone or the name it was trained under."""
    known = AdapterNames({name: _alias(card) for name, card in cards.items()})

    def means(word: str, name: str) -> bool:
        try:
            return word != name and known.find(word) == name
        except PromptError:  # it may mean several
            return False

    words = {name: (name.rpartition("/")[2], _alias(cards[name])) for name in asked}
    return {name: [word for word in dict.fromkeys(others) if word and means(word, name)] for name, others in words.items()}


def _alias(card: AdapterCard) -> str | None:
    return card.summary.output_name or None if card.summary else None


def _read(new: dict[str, Stamp], workspace: Workspace, seconds: float) -> dict[str, AdapterCard]:
    """Cards of files that memory does not hold: from the notes, else from their headers until the time is up."""
    notes, until = FileNotes(workspace.cache), monotonic() + seconds
    told = notes.read_all(NOTE, [Path(path) for path in new])
    cards, learnt = {}, {}
    for path, stamp in new.items():
        file = Path(path)
        card = _from_note(file, stamp, told[file]) if file in told else None
        if not card and monotonic() > until:
            cards[path] = AdapterCard(file.stem, file, None, mtime_ns=stamp[1], unread=True)
            continue
        if not card:
            card = _from_header(file, stamp)
            if card.summary and (card.summary.size, card.summary.mtime_ns) == stamp:
                learnt[file] = _summaries().dump_json(card.summary).decode(), stamp
        cards[path], _kept[path] = card, (stamp, card)
    notes.write_all(NOTE, learnt)
    while len(_kept) > KEPT:
        _kept.pop(next(iter(_kept)))
    return cards


def _from_header(file: Path, stamp: Stamp) -> AdapterCard:
    try:
        summary = unopened(file) if file.suffix.lower() in PICKLES else describe(file)
        return AdapterCard(file.stem, file, summary, mtime_ns=stamp[1])
    except EngineError as problem:
        return AdapterCard(file.stem, file, None, problem, stamp[1])


def _from_note(file: Path, stamp: Stamp, note: str) -> AdapterCard | None:
    try:
        return AdapterCard(file.stem, file, _summaries().validate_json(note), mtime_ns=stamp[1])
    except ValidationError:
        return None


@cache
def _summaries() -> TypeAdapter[AdapterSummary]:
    return TypeAdapter(AdapterSummary)


def _files(folder: str) -> Iterator[tuple[str, str, Stamp]]:
    """(name, path, size and modification time) of each adapter file below a folder, without what is hidden.

    Strings and `os.walk`, because a page asks for thousands of them each time it is entered.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = place[len(folder) :].lstrip(os.sep).replace(os.sep, "/")
        for name in sorted(names, key=lambda name: (not name.lower().endswith(ENDINGS[0]), name)):
            ending = os.path.splitext(name)[1]
            if ending.lower() not in ENDINGS or name.startswith("."):
                continue
            path = os.path.join(place, name)
            with suppress(OSError):
                status = os.stat(path)
                if S_ISREG(status.st_mode):
                    called = name.removesuffix(ending)
                    yield f"{inside}/{called}" if inside else called, path, (status.st_size, status.st_mtime_ns)
