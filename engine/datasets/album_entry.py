"""What an album knows of a picture, and how that is read from its header and its caption file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from engine.datasets.album_files import Files, concept_of, is_excluded
from engine.datasets.caption_files import token
from engine.datasets.captions import caption_bytes, parse_caption
from engine.datasets.decode import picture_size
from engine.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture of a dataset.

    Attributes:
        name: posix path in the dataset: `20_robot/a.png`, or `_excluded/20_robot/a.png` when it is taken out.
        width, height: upright, px; 0 when the picture cannot be read.
        bytes, stamp: size and modification time (ns) of the picture's file.
        concept: name of its folder, "" for the dataset's own pictures.
        caption: first line of the caption file; "" also when that cannot be read.
        caption_file: name of that file, "" where there is none.
        token: tells whether the caption file is still the same; "" where there is none.
        encoding: Python codec name of the caption file, "" where it is not known.
        problem: code of the error that reading the picture, else its caption, gave; "" for none.
    """

    name: str
    width: int
    height: int
    bytes: int
    stamp: int
    concept: str
    caption: str
    caption_file: str
    token: str
    encoding: str
    problem: str
    masked: bool
    excluded: bool


class PictureFacts(NamedTuple):
    """What a picture's header tells; sizes 0 where there is a problem."""

    width: int
    height: int
    problem: str


class CaptionFacts(NamedTuple):
    """What a caption file holds."""

    caption: str
    token: str
    encoding: str
    problem: str


NO_CAPTION = CaptionFacts("", "", "", "")


def read_picture(file: Path) -> PictureFacts:
    try:
        return PictureFacts(*picture_size(file), "")
    except DatasetError as error:
        return PictureFacts(0, 0, error.code)


def read_caption_facts(file: Path) -> CaptionFacts:
    data = None
    try:
        data = caption_bytes(file)
        caption = parse_caption(data)
    except DatasetError as error:
        return CaptionFacts("", token(data), "", error.code)
    return CaptionFacts(caption.text, token(data), sys.intern(caption.encoding), "")


def entry(name: str, files: Files, picture: PictureFacts, caption: CaptionFacts) -> Entry:
    """All that is known of a picture in one place."""
    return Entry(
        name, picture.width, picture.height, *files.picture, sys.intern(concept_of(name)), caption.caption, files.caption_file,
        caption.token, caption.encoding, picture.problem or caption.problem, files.masked, is_excluded(name),
    )  # fmt: skip
