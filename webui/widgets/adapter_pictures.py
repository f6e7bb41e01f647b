"""The picture of each adapter card: the preview beside the file, else the cover inside it, else its initial on a colour of its own."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from time import monotonic

from engine.adapter_library import AdapterCard
from engine.formats.cover import load_cover
from engine.sidecars import find_preview
from engine.workspace import Workspace
from webui.widgets import previews
from webui.widgets.html import tag, text

SIDE = 192
"""Longest side, px; twice what is shown, for fine screens."""


def thumbnails(cards: Iterable[AdapterCard], workspace: Workspace, seconds: float) -> tuple[dict[Path, str], bool]:
    """(file -> address of its small picture, whether all are there). After so many seconds no more are made; ask again."""
    until, whole = monotonic() + seconds, True
    found: dict[Path, str] = {}
    for card in cards:
        picture = find_preview(card.path)
        source = picture or (card.path if card.summary and card.summary.cover else None)
        if source is None:
            continue
        try:
            late = monotonic() > until and not previews.copy_of(workspace, source, SIDE).exists()
        except OSError:  # gone meanwhile
            continue
        if late:
            whole = False
        elif copy := previews.preview(workspace, source, SIDE, *(() if picture else (load_cover,))):
            found[card.path] = previews.url(copy)
    return found, whole


def thumbnail(name: str, address: str | None) -> str:
    """A picture as HTML, or the initial of the name where there is none."""
    if address:
        return tag("img", src=address, alt="", loading="lazy", class_="thumb")
    initial = name.rpartition("/")[2][:1].upper()
    return text(
        "span",
        initial,
        class_="thumb initial",
        style=f"--hue: {zlib.crc32(name.encode('utf-8', 'replace')) % 360}",
        aria_hidden="true",
    )
