"""What one click does about findings. Every remedy is an operation of the dataset's journal and can be undone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from engine.datasets import alter
from engine.datasets.caption_files import save_captions
from engine.datasets.captions import replace_word, with_trigger
from engine.datasets.doctor.finding import Finding
from engine.datasets.journal import Journal, Move
from engine.datasets.scan import survey
from engine.errors import DatasetError

Remedy = Callable[[Journal, Sequence[Finding]], list[str]]
ELSEWHERE = "caption"
"""The remedy that takes more than a click: the page opens the automatic captions."""


def apply_remedy(journal: Journal, findings: Sequence[Finding]) -> list[str]:
    """Put findings of one remedy right; returns the pictures concerned, by the names they have now.

    Raises:
        DatasetError: `remedy.none` for findings without a remedy, or with several; what `engine.datasets.alter` and
            `engine.datasets.caption_files` raise, also where a file has changed since it was examined.
    """
    asked = {found.remedy for found in findings}
    remedy = REMEDIES.get(asked.pop()) if len(asked) == 1 else None
    if remedy is None:
        raise DatasetError(
            "remedy.none", "There is no single step that puts this right.", "Findings with one and the same remedy.",
            "Do what the finding says by hand.", codes=", ".join(sorted({found.code for found in findings})),
        )  # fmt: skip
    return remedy(journal, findings)


def _exclude(journal: Journal, findings: Sequence[Finding]) -> list[str]:
    return _excluded(journal, [name for found in findings for name in (found.file, *found.also)])


def _keep_first(journal: Journal, findings: Sequence[Finding]) -> list[str]:
    """Of each group the picture that the finding is about stays."""
    kept = {found.file for found in findings}
    return _excluded(journal, [name for found in findings for name in found.also if name not in kept])


def _excluded(journal: Journal, names: Sequence[str]) -> list[str]:
    entry = alter.exclude(journal, list(dict.fromkeys(names)))
    return entry.names if entry else []


def _convert(journal: Journal, findings: Sequence[Finding]) -> list[str]:
    return [alter.convert(journal, found.file, found.remedy.partition(":")[2]).name for found in findings]


def _crop(journal: Journal, findings: Sequence[Finding]) -> list[str]:
    return [alter.crop(journal, found.file, _box(found.values["box"])).name for found in findings]


def _box(text: str) -> alter.Box:
    left, top, right, bottom = map(int, text.split(","))
    return left, top, right, bottom


def _rename(journal: Journal, findings: Sequence[Finding]) -> list[str]:
    """The right ending; the stem, by which a caption belongs to its picture, stays."""
    moves = [Move(found.file, str(PurePosixPath(found.file).with_suffix(found.values["extension"]))) for found in findings]
    for move in moves:
        if os.path.lexists(journal.folder / move.target):
            raise DatasetError(
                "convert.taken",
                f"There is another picture {move.target!r}.",
                todo="Rename or exclude one of them.",
                name=move.target,
            )
    journal.apply("rename_extension", moves, {"count": len(moves), "name": moves[0].target})
    return [move.target for move in moves]


def _trigger(journal: Journal, findings: Sequence[Finding]) -> list[str]:
    """Captions with their own trigger word in place of another's, in front, or without any."""
    dataset = survey(journal.folder)
    captions = {
        picture.path.relative_to(dataset.folder).as_posix(): picture.caption
        if picture.caption_source in ("file", "metadata")
        else ""
        for picture in dataset.pictures
    }
    changed = {found.file: _with_right_trigger(captions.get(found.file, ""), found) for found in findings}
    save_captions(journal, changed, findings[0].remedy, {"count": len(changed), "name": findings[0].file})
    return list(changed)


def _with_right_trigger(caption: str, found: Finding) -> str:
    own, other = found.values.get("trigger", ""), found.values.get("other", "")
    return with_trigger(replace_word(caption, other, own) if other else caption, own)


REMEDIES: Mapping[str, Remedy] = {
    "exclude": _exclude,
    "keep_first": _keep_first,
    "convert:png": _convert,
    "crop": _crop,
    "rename_extension": _rename,
    "add_trigger": _trigger,
    "replace_trigger": _trigger,
    "remove_trigger": _trigger,
}
"""Remedy of a finding -> what carries it out. `ELSEWHERE` has no entry: its step is taken on the page."""
