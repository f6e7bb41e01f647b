"""Everything about one picture that its pixels must be read for, found out once for each content of the file.

Knows no dataset and no judgement: those are the checks'. The picture is judged as training sees it (upright, sRGB, an animation's
first frame), at the area of a 512 px square.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from engine.datasets.decode import decode_picture, picture_header, read_bytes, stored_picture
from engine.datasets.doctor.bars import inner_box
from engine.datasets.doctor.blur import SIDE, edge_blur
from engine.datasets.doctor.likeness import likeness_hash
from engine.datasets.doctor.writing import text_share
from engine.errors import DatasetError
from engine.file_notes import FileNotes
from engine.workspace import stamp

NOTE = "doctor 1"
"""Kind of the notes on files; a change of what is measured counts up."""
AT_A_TIME = 50
"""Pictures after which their notes are kept, so that a check that was stopped goes on where it was."""
PLAIN = 3.0
"""Deviation of the grey levels below which a picture shows nothing, and so is like no other."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Look:
    """Attributes:
    problem: why the pixels cannot be read; then all else is unknown.
    format, mode: Pillow's names of the file's format, whatever it is called, and of its stored colours.
    orientation: EXIF, 1-8.
    transparent: some pixel is not opaque.
    deep: more than 8 bits a colour.
    blur: see `blur.edge_blur`.
    likeness: see `likeness.likeness_hash`; "" for a picture of one colour.
    inner: see `bars.inner_box`.
    text: see `writing.text_share`.
    """

    sha256: str = ""
    problem: str = ""
    format: str = ""
    mode: str = ""
    orientation: int = 1
    transparent: bool = False
    deep: bool = False
    animated: bool = False
    blur: float = 0.0
    likeness: str = ""
    inner: tuple[float, float, float, float] | None = None
    text: float = 0.0


def look_at(path: Path) -> Look:
    """Read a picture once. What is wrong with it goes to `problem`."""
    try:
        data = read_bytes(path)
        header = picture_header(data, path.name)
        picture = _small(decode_picture(data, path.name, enough=_enough(header.size)))
        transparent = header.transparent and _transparent(data, path.name)
    except DatasetError as error:
        return Look(problem=str(error.values.get("reason") or error.what))
    grey = np.asarray(picture.convert("L"))
    return Look(
        sha256=hashlib.sha256(data).hexdigest(), format=header.format, mode=header.mode, orientation=header.orientation,
        transparent=transparent, deep=header.deep, animated=header.animated,
        blur=round(edge_blur(grey), 2),
        likeness=likeness_hash(picture) if grey.std() >= PLAIN else "",
        inner=inner_box(np.asarray(picture)),
        text=round(text_share(grey), 3),
    )  # fmt: skip


def look_at_all(paths: Sequence[Path], notes: FileNotes, on_progress: Progress) -> dict[Path, Look]:
    """The same for many, reading only those that nobody has looked at since they changed.

    Args:
        on_progress: called with those done and all; what it raises ends the work, and what is done is kept.
    """
    known = {path: _read(note) for path, note in notes.read_all(NOTE, list(paths)).items()}
    fresh: dict[Path, tuple[str, tuple[int, int]]] = {}
    try:
        for done, path in enumerate(paths):
            on_progress(done, len(paths))
            if path not in known:
                seen = stamp(path)
                known[path] = look_at(path)
                if not known[path].problem:  # what is wrong may be put right without a trace: a disk that was away, a permission
                    fresh[path] = json.dumps(asdict(known[path])), seen
            if len(fresh) >= AT_A_TIME:
                notes.write_all(NOTE, fresh)
                fresh = {}
    finally:
        notes.write_all(NOTE, fresh)
    on_progress(len(paths), len(paths))
    return known


def _read(note: str) -> Look:
    values = json.loads(note)
    return Look(**{**values, "inner": tuple(values["inner"]) if values["inner"] else None})


def _enough(size: tuple[int, int]) -> int:
    """Longest side at the area of SIDE x SIDE."""
    return max(1, round(max(size) * min(1.0, SIDE / (size[0] * size[1]) ** 0.5)))


def _small(picture: Image.Image) -> Image.Image:
    longest = _enough(picture.size)
    if longest >= max(picture.size):
        return picture
    scale = longest / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _transparent(data: bytes, name: str) -> bool:
    alpha = stored_picture(data, name).image.convert("RGBA").getchannel("A")
    return alpha.getextrema()[0] < 255  # type: ignore[operator]  # one channel has one pair
