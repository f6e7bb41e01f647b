"""Captions changed one by one and many at once, and everything taken back and done again."""

from __future__ import annotations

import os
import unicodedata
from typing import Any

from fastapi import APIRouter

from engine.config.edits import Edit
from engine.datasets.album_files import MASKS
from engine.datasets.caption_files import save_caption, save_captions
from engine.datasets.edits import preview
from engine.datasets.journal import Entry
from webui.datasets.altering import touched
from webui.datasets.browsing import told
from webui.datasets.opened import Asked, Here, Named, Opened, open_dataset
from webui.datasets.replies import Json

router = APIRouter(default_response_class=Json)
EXAMPLES = 50


class Captioned(Asked):
    """A caption as it shall be, and the token of the file as the asker has seen it; `encoding` converts the file."""

    name: str
    caption: str
    token: str
    encoding: str | None = None


class Edited(Named):
    edit: Edit
    preview: bool = True


@router.post("/caption")
def caption(asked: Captioned, context: Here) -> dict[str, Any]:
    opened = open_dataset(asked.dataset, context)
    opened.picture(asked.name)
    done = save_caption(opened.journal, asked.name, asked.caption, asked.token, asked.encoding)
    opened.album.refresh(concerned(opened, done) if done else [asked.name])
    return {"entry": told(opened.entry(asked.name)), "history": opened.history()}


@router.post("/edit")
def edit(asked: Edited, context: Here) -> dict[str, Any]:
    """What an edit of many captions changes, and the change unless only a preview is asked for.

    Caption files that cannot be read are left alone: how many is `unreadable`.
    """
    opened = open_dataset(asked.dataset, context)
    entries = opened.album.entries
    captions = {name: entry.caption for name, entry in entries.items() if not entry.problem.startswith("caption.")}
    names = [name for name in opened.pictures(asked.names) if name in captions]
    after = preview(captions, names, asked.edit)
    if after and not asked.preview:
        kind, tokens = asked.edit.kind, {name: entries[name].token for name in after}
        save_captions(opened.journal, after, f"edit_{kind}", {"count": len(after)}, tokens)
        opened.album.refresh(after)
    return {
        "changed": len(after), "unreadable": len(asked.names) - len(names), "history": opened.history(),
        "examples": [
            {"name": name, "before": captions[name], "after": new, "stamp": str(entries[name].stamp)}
            for name, new in list(after.items())[:EXAMPLES]
        ],
    }  # fmt: skip


@router.post("/undo")
def undo(asked: Asked, context: Here) -> dict[str, Any]:
    opened = open_dataset(asked.dataset, context)
    return _travelled(opened, opened.journal.undo())


@router.post("/redo")
def redo(asked: Asked, context: Here) -> dict[str, Any]:
    opened = open_dataset(asked.dataset, context)
    return _travelled(opened, opened.journal.redo())


def _travelled(opened: Opened, done: Entry | None) -> dict[str, Any]:
    """`label` and `values` say what it was; None where there was nothing."""
    reply = opened.changed(concerned(opened, done) if done else [])
    return {"label": done and done.label, "values": done.values if done else {}, **reply}


def concerned(opened: Opened, done: Entry) -> list[str]:
    """The pictures whose own files, captions or masks an operation has touched."""
    stems = {_stem(name.removeprefix(f"{MASKS}/")) for name in done.names}
    return list(dict.fromkeys([*touched(done), *(name for name in opened.album.entries if _stem(name) in stems)]))


def _stem(name: str) -> str:
    return unicodedata.normalize("NFC", os.path.splitext(name)[0])
