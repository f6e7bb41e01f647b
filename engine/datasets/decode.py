"""One picture file to an upright 8-bit RGB picture, and that to the array of its bucket.

Knows Pillow and numpy; no torch, no captions. Only the formats of a dataset are tried, whatever the file is called: Pillow
would hand a renamed EPS file to an interpreter. The size is judged from the header before anything is decoded.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from engine.datasets.buckets import crop_box
from engine.errors import DatasetError

EXTENSIONS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF",
    ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF",
}  # fmt: skip
"""File extension to Pillow's name of the format."""
FOREIGN_EXTENSIONS = (".heic", ".heif", ".jxl")
"""Pictures for people, but not for Pillow: named in the report, never passed over in silence."""
MAX_PIXELS = 100_000_000
MAX_BYTES = 2**30

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def supported_extensions() -> list[str]:
    """The extensions this installation of Pillow can open, in the order they are named to people."""
    Image.init()
    return [extension for extension, name in EXTENSIONS.items() if name in Image.OPEN]


def picture_size(path: Path, name: str = "") -> tuple[int, int]:
    """Upright width and height in px, from the header alone.

    Args:
        name: what the picture is called in an error, where that is not the name of its file.

    Raises:
        DatasetError: `picture.unreadable`, `picture.too_large`.
    """
    with _readable(name or path.name):
        _check_file(path)
        with path.open("rb") as stream:
            image = _open(stream, name or path.name)
            width, height = image.size
            return (height, width) if _orientation(image) >= 5 else (width, height)


def load_picture(path: Path, background: Colour = WHITE) -> Image.Image:
    """Read a picture: upright, RGB, 8 bit, sRGB; transparency laid on `background`; an animation's first frame.

    Raises:
        DatasetError: `picture.unreadable`, `picture.too_large`.
    """
    return decode_picture(read_bytes(path), path.name, background)


def read_bytes(path: Path) -> bytes:
    """The whole file.

    Raises:
        DatasetError: `picture.unreadable`, also above `MAX_BYTES`.
    """
    with _readable(path.name):
        _check_file(path)
        return path.read_bytes()


def decode_picture(data: bytes, name: str, background: Colour = WHITE, enough: int | None = None) -> Image.Image:
    """`load_picture` on bytes already read; `name` is for the error text.

    Args:
        enough: longest side in px that is needed; a JPEG is then decoded at a half, a quarter or an eighth of its size.
    """
    with _readable(name):
        image = _open(io.BytesIO(data), name)
        orientation = _orientation(image)
        if enough and (scale := enough / max(image.size)) < 1:
            image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        image.load()
        image = _to_rgb(image, background)
        return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


class Stored(NamedTuple):
    """A picture upright, but in its own colours and depth.

    Attributes:
        image: of an animation the first frame.
        format: Pillow's name of it.
        animated: there are further frames.
        exif: what the camera wrote, without the orientation; b"" for nothing.
    """

    image: Image.Image
    format: str
    animated: bool
    exif: bytes


def stored_picture(data: bytes, name: str) -> Stored:
    """The picture as it is stored, for those who will store it again; `name` is for the error text.

    Raises:
        DatasetError: `picture.unreadable`, `picture.too_large`.
    """
    with _readable(name):
        image = _open(io.BytesIO(data), name)
        orientation, format = _orientation(image), image.format or ""
        animated = getattr(image, "is_animated", False)
        image.load()
        upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image.copy()
        return Stored(upright, format, animated, _exif(image))


class Header(NamedTuple):
    """What a file says of its picture before anything is decoded.

    Attributes:
        size: upright width and height, px.
        format: Pillow's name of it, whatever the file is called.
        mode: Pillow's name of the stored colours: "RGB", "P" (a palette), "1" (two colours), "CMYK", ...
        orientation: EXIF, 1-8; 1 is upright.
        transparent: it has an alpha channel or a transparent colour.
        deep: it has more than 8 bits a colour.
        animated: there are further frames.
    """

    size: tuple[int, int]
    format: str
    mode: str
    orientation: int
    transparent: bool
    deep: bool
    animated: bool


def picture_header(data: bytes, name: str) -> Header:
    """Raises DatasetError: `picture.unreadable`, `picture.too_large`."""
    with _readable(name):
        image = _open(io.BytesIO(data), name)
        orientation = _orientation(image)
        # Pillow calls 16-bit colours RGB like any other; how their bytes are stored tells them apart.
        deep = image.mode.startswith(("I", "F")) or any(";16" in str(tile.args) for tile in image.tile)
        several_views = image.format == "MPO"  # one JPEG behind the other, as phones store a preview
        return Header(
            size=image.size[:: -1 if orientation >= 5 else 1],
            format="JPEG" if several_views else image.format or "",
            mode=image.mode,
            orientation=orientation,
            transparent=image.has_transparency_data,
            deep=deep,
            animated=not several_views and getattr(image, "is_animated", False),
        )


def fit(image: Image.Image, resized: tuple[int, int], bucket: tuple[int, int], flip: bool = False) -> Image.Image:
    """Resize to `resized` (Lanczos) and cut the centre `bucket` out of it; `flip` mirrors the result.

    Both steps in one: only the part that stays is calculated, so that a very narrow picture cannot fill the memory.
    """
    box = crop_box(image.size, resized, bucket)
    result = image if image.size == resized == bucket else image.resize(bucket, Image.Resampling.LANCZOS, box=box)
    return result.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else result


def to_array(image: Image.Image) -> np.ndarray:
    """An RGB picture as float32 (3, H, W) in [-1, 1]."""
    return np.ascontiguousarray(np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever goes wrong inside a broken file into a DatasetError that says why."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on hostile bytes
        raise unreadable(name, getattr(error, "strerror", None) or str(error) or type(error).__name__) from error


def unreadable(name: str, reason: str) -> DatasetError:
    """The error for a picture that cannot be read."""
    return DatasetError(
        "picture.unreadable", f"The picture {name!r} cannot be read: {reason}.",
        "A picture is a whole file in one of the formats " + ", ".join(supported_extensions()) + ".",
        "Save it again from a picture editor, or take it out of the folder.", name=name, reason=reason,
    )  # fmt: skip


def _check_file(path: Path) -> None:
    if not path.is_file():  # a pipe would be waited on for ever
        raise OSError("it is a broken link or no ordinary file")
    if path.stat().st_size > MAX_BYTES:
        raise OSError(f"the file is larger than {MAX_BYTES >> 20} MiB")


def _open(stream: IO[bytes], name: str) -> Image.Image:
    """Read the header and refuse what would be too large to decode."""
    if not stream.read(1):
        raise OSError("the file is empty")
    stream.seek(0)
    Image.init()
    formats = [format for format in dict.fromkeys(EXTENSIONS.values()) if format in Image.OPEN]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow's limit lies elsewhere; ours follows
        try:
            image = Image.open(stream, formats=formats)
        except UnidentifiedImageError:
            raise OSError("the file holds no picture in a known format") from None
        except Image.DecompressionBombError:
            raise _too_large(name, f"more than {MAX_PIXELS:,}") from None
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name, f"{image.width * image.height:,}")
    return image


def _too_large(name: str, pixels: str) -> DatasetError:
    return DatasetError(
        "picture.too_large", f"The picture {name!r} has {pixels} pixels.", f"At most {MAX_PIXELS:,} are decoded.",
        "Make it smaller in a picture editor, or take it out of the folder.", name=name, pixels=pixels,
    )  # fmt: skip


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1-8 from the header. Pillow itself turns TIFF upright."""
    if image.format == "TIFF":
        return 1
    try:
        # PNG's own getexif would decode the whole picture in search of a block behind the pixels.
        return Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)
    except Exception:  # broken EXIF is no reason to lose the picture; every viewer shows it unturned
        return 1


def _exif(image: Image.Image) -> bytes:
    try:
        exif = Image.Image.getexif(image)
        exif.pop(_EXIF_ORIENTATION, None)
        return exif.tobytes() if exif else b""
    except Exception:  # see _orientation
        return b""


def _to_rgb(image: Image.Image, background: Colour) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _from_deep(image).convert("RGB")
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        flat = Image.new("RGB", image.size, background)
        flat.paste(image, mask=image.getchannel("A"))
        image = flat
    elif image.mode not in ("RGB", "CMYK", "L"):
        image = image.convert("RGB")
    if profile:
        image = _to_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey scaled to 8 bit; Pillow alone would cut off everything above 255."""
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    white = 1.0 if image.mode == "F" else 65535.0
    if not (low >= 0 and high <= white):
        raise OSError(f"its values lie between {low:g} and {high:g}, not between 0 and {white:g}")
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Colours by the embedded ICC profile. A broken profile, or one of another colour space, is passed over as viewers do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in (ImageCms.getProfileDescription(source) or "").lower():
            return image
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError):
        return image
