"""Masks: which parts of a picture are learnt. Beside the pictures, one grey PNG each, as large as its picture stands upright.

White is learnt, black is not, grey in part; a picture without a mask is learnt everywhere. Knows no latents: training makes them
as small as it needs.
"""

from __future__ import annotations

import io
import os
from pathlib import Path, PurePosixPath

from PIL import Image

from engine.datasets.decode import MAX_BYTES, decode_picture, picture_size, read_bytes
from engine.datasets.journal import Entry, Journal, Write
from engine.errors import DatasetError
from engine.workspace import safe_join

MASKS = "_masks"
WHITE = 255
Size = tuple[int, int]
"""Width and height, px."""


def mask_name(name: str) -> str:
    """The name in the dataset of a picture's mask, whether it is there or not."""
    return f"{MASKS}/{PurePosixPath(name).with_suffix('.png')}"


def mask_file(folder: Path, name: str) -> Path:
    """Where a picture's mask lies.

    Raises:
        PathError: `path.outside`.
    """
    return safe_join(folder / MASKS, mask_name(name).removeprefix(f"{MASKS}/"))


def read_mask(folder: Path, name: str, size: Size) -> Image.Image:
    """A picture's mask, mode L, all white where it has none.

    Args:
        size: of the picture, upright.

    Raises:
        DatasetError: `mask.unreadable`, `mask.size`.
    """
    file = mask_file(folder, name)
    return decode_mask(read_bytes(file), name, size) if os.path.lexists(file) else Image.new("L", size, WHITE)


def decode_mask(data: bytes, name: str, size: Size) -> Image.Image:
    """The mask in a PNG, mode L; what is transparent in it is learnt.

    Args:
        name: of the picture.

    Raises:
        DatasetError: `mask.unreadable`, `mask.size`.
    """
    _check_size(_header_size(data, name), size, name)
    try:
        mask = decode_picture(data, name).convert("L")
    except DatasetError as error:
        raise _unreadable(name, str(error.values.get("reason") or error.what)) from error
    _check_size(mask.size, size, name)  # a camera's mark may have turned it
    return mask


def encode_mask(mask: Image.Image) -> bytes | None:
    """The bytes of a mask's file; None for a mask that is white everywhere, which needs none."""
    return None if mask.getextrema() == (WHITE, WHITE) else _png(mask)


def save_mask(journal: Journal, name: str, data: bytes | None) -> Entry | None:
    """Give a picture a mask, or take it away with None or one that is white everywhere. Returns None where that changes nothing.

    Args:
        data: a PNG as large as the picture stands upright.

    Raises:
        DatasetError: `mask.unreadable`, `mask.size`, `picture.unreadable`, `picture.too_large`; as `Journal.apply`.
        PathError: `path.outside`.
    """
    size = picture_size(safe_join(journal.folder, name))
    after = None if data is None else encode_mask(decode_mask(data, name, size))
    file = mask_file(journal.folder, name)
    before = file.read_bytes() if file.exists() else None
    if before == after:
        return None
    return journal.apply("mask" if after else "unmask", [Write(mask_name(name), before, after)], {"name": name})


def _header_size(data: bytes, name: str) -> Size:
    """Width and height of a PNG before anything of it is decoded."""
    if len(data) > MAX_BYTES or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        raise _unreadable(name, "it is no PNG")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _check_size(found: Size, size: Size, name: str) -> None:
    if found != size:
        raise DatasetError(
            "mask.size", f"The mask of {name!r} has {found[0]}x{found[1]} px.",
            f"As many as the picture: {size[0]}x{size[1]}.", "Paint it again, or remove it.",
            name=name, mask=f"{found[0]}x{found[1]}", picture=f"{size[0]}x{size[1]}",
        )  # fmt: skip


def _png(mask: Image.Image) -> bytes:
    stream = io.BytesIO()
    mask.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _unreadable(name: str, reason: str) -> DatasetError:
    return DatasetError(
        "mask.unreadable", f"The mask of {name!r} cannot be read: {reason}.", "A PNG file.", "Paint it again, or remove it.",
        name=name, reason=reason,
    )  # fmt: skip
