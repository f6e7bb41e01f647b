"""The cover picture inside an adapter file: a small JPEG as a data URL in `modelspec.thumbnail`.

A cover read from a file was put there by a stranger: only the three picture formats that browsers show as pictures and
nothing else are let through. Pillow is imported only when a cover is made.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import AdapterError
from engine.formats.safetensors_header import read_header

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 512
"""Largest side, px."""
MAX_BYTES = 192 * 1024
"""Of the JPEG; the header of the file, which every list of files reads, grows by four thirds of it."""
QUALITIES = (90, 80, 70, 50, 30)
_URL = re.compile(r"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/]+={0,2}")
_SHOWN = 2**20


def make_cover(picture: Path | str) -> str:
    """A picture file as a data URL, at most SIDE on its longer side and MAX_BYTES large.

    Raises:
        DatasetError: `picture.unreadable`, `picture.too_large`.
        AdapterError: `adapter.cover_too_large`.
    """
    from engine.datasets.decode import load_picture

    image = load_picture(Path(picture))
    image.thumbnail((SIDE, SIDE))
    for quality in QUALITIES:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True)
        if len(stream.getvalue()) <= MAX_BYTES:
            return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
    raise AdapterError(
        "adapter.cover_too_large", f"{Path(picture).name} is larger than {MAX_BYTES} bytes even at {SIDE} px.",
        "A picture with less detail.", "Choose another cover.", path=Path(picture).name,
    )  # fmt: skip


def is_cover(text: str) -> bool:
    """Whether a metadata value is a data URL that may be shown as a picture."""
    return len(text) <= _SHOWN and _URL.fullmatch(text) is not None


def load_cover(file: Path) -> Image:
    """The cover inside an adapter file, as a picture.

    Raises:
        ModelError: codes `file.*`.
        DatasetError: `picture.unreadable`, `picture.too_large`.
    """
    from engine.datasets.decode import decode_picture

    cover = read_header(file).metadata.get("modelspec.thumbnail", "")
    try:
        content = base64.b64decode(cover.partition(",")[2] if is_cover(cover) else "")
    except ValueError:  # characters that are none of base64's are not let through, but their number may be wrong
        content = b""
    return decode_picture(content, file.name)
