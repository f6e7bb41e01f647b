"""Findings about how a picture is stored: nothing is wrong with it, but training may see something else than a viewer shows."""

from __future__ import annotations

from dataclasses import replace

from engine.datasets.doctor.case import Case
from engine.datasets.doctor.finding import Finding, finding

FEW_COLOURS = {"P": 256, "PA": 256, "1": 2}
"""Pillow's mode -> how many colours a picture can have in it."""


def turned(case: Case) -> list[Finding]:
    """Pictures that a mark of the camera turns upright."""
    text = "It is stored turned or mirrored, and a mark of the camera (EXIF orientation) sets it right. Training here obeys it; other programs may not."
    return [
        finding("picture.turned", name, text, orientation=look.orientation)
        for name, _, look in case.seen
        if look.orientation != 1
    ]


def transparent(case: Case) -> list[Finding]:
    """Pictures that one can see through."""
    text = "Parts of it are transparent (alpha channel). Training sees them white."
    return [finding("picture.alpha", name, text) for name, _, look in case.seen if look.transparent]


def printed(case: Case) -> list[Finding]:
    """Pictures in printing inks."""
    text = "It is stored in printing inks (CMYK). Training sees it converted, and its colours may come out duller than a viewer shows them."
    return [finding("picture.cmyk", name, text) for name, _, look in case.seen if look.mode == "CMYK"]


def deep(case: Case) -> list[Finding]:
    """Pictures of more than 8 bits."""
    text = "It has more than 8 bits a colour. Training sees 8 of them; the file is larger than it needs to be."
    return [finding("picture.deep", name, text) for name, _, look in case.seen if look.deep]


def few_colours(case: Case) -> list[Finding]:
    """Pictures with a palette."""
    return [
        finding("picture.palette", name, f"It has a palette of at most {count} colours. Training learns its bands and dots as well.", colours=count)
        for name, _, look in case.seen if (count := FEW_COLOURS.get(look.mode))
    ]  # fmt: skip


def animated(case: Case) -> list[Finding]:
    """Pictures that move."""
    text = "It is an animation. Training sees its first frame only."
    found = {picture.path: finding("picture.animated", name, text) for name, picture, look in case.seen if look.animated}
    # a PNG would be converted to what it is
    return [replace(each, remedy="") if path.suffix.lower() == ".png" else each for path, each in found.items()]
