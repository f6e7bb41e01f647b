"""Pixels back to the bytes of a picture file, losing as little as its format allows.

What is stored without loss stays so: PNG, BMP, GIF, TIFF and that kind of WebP. JPEG, AVIF and the other WebP are written at quality
95. Colour profile, transparency and depth stay where the format has them.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from engine.datasets.decode import Stored, decode_picture
from engine.errors import DatasetError

QUALITY = 95
MAX_EXIF = 65_000
"""Bytes that fit into a JPEG's own field."""
TARGETS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}
"""Extensions that pictures can be converted to, with Pillow's name of the format."""

_LOSSLESS = ("PNG", "BMP", "GIF", "TIFF")
_WITH_EXIF = ("PNG", "JPEG", "WEBP", "AVIF")
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def is_lossless(data: bytes, format: str) -> bool:
    """Whether a file keeps every value of its picture."""
    return _is_lossless_webp(data) if format == "WEBP" else format in _LOSSLESS


def same_kind(image: Image.Image, stored: Stored, data: bytes, name: str) -> bytes:
    """An altered picture in the format it was stored in.

    Args:
        data: the file it comes from.
        name: for the error text.

    Raises:
        DatasetError: `picture.cannot_save`.
    """
    format = "JPEG" if stored.format == "MPO" else stored.format  # JPEG with further pictures behind it, as telephones make them
    return _encode(image, format, is_lossless(data, format), stored.exif, image.info.get("icc_profile"), name)


def converted(stored: Stored, data: bytes, format: str, name: str) -> bytes:
    """The picture in another format. Where that has no transparency it is laid on white; where it has no such colours, sRGB is taken.

    Args:
        format: one of the values of `TARGETS`.

    Raises:
        DatasetError: `picture.cannot_save`, `picture.unreadable`.
    """
    image, profile = stored.image, stored.image.info.get("icc_profile")
    transparent = image.has_transparency_data
    if format == "PNG" and image.mode in _PNG_MODES:
        pass
    elif format == "WEBP" and image.mode in ("RGB", "RGBA", "P") and (transparent or image.mode == "RGB"):
        image = image.convert("RGBA" if transparent else "RGB")
    elif format != "JPEG" and transparent:
        image, profile = image.convert("RGBA"), None
    else:
        image, profile = decode_picture(data, name), None
    return _encode(image, format, is_lossless(data, stored.format), stored.exif, profile, name)


def _encode(image: Image.Image, format: str, lossless: bool, exif: bytes, profile: bytes | None, name: str) -> bytes:
    options: dict[str, Any] = {"icc_profile": profile}
    if format in _WITH_EXIF and len(exif) <= MAX_EXIF:
        options["exif"] = exif
    if format == "JPEG":
        options |= {"quality": QUALITY, "subsampling": 0}
    elif format == "WEBP" and lossless:
        options |= {"lossless": True, "exact": True}
    elif format in ("WEBP", "AVIF"):
        options |= {"quality": QUALITY}
    elif format == "TIFF":
        options |= {"compression": "tiff_deflate"}
    stream = io.BytesIO()
    try:
        image.save(stream, format, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error) or type(error).__name__
        raise DatasetError(
            "picture.cannot_save", f"The picture {name!r} cannot be saved as {format}: {reason}.",
            todo="Convert it to png first.", name=name, format=format, reason=reason,
        ) from error  # fmt: skip
    return stream.getvalue()


def _is_lossless_webp(data: bytes) -> bool:
    """Whether the first picture in the file is stored in WebP's lossless form."""
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8L"
        at += 24 if kind == b"ANMF" else 8 + size + size % 2  # a frame's own parts lie inside of it, behind 16 bytes
    return False
