"""Ordinary and hostile picture files, drawn from a seed."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFilter

ORIENTATION = 0x0112
_SIZES = ((640, 480), (480, 640), (512, 512), (800, 450), (300, 400), (427, 640), (960, 540), (256, 256))
_SUBJECTS = ("a red ball", "a small house", "a round tree", "a blue boat", "a yellow kite")
_PLACES = ("on a meadow", "by the sea", "in the evening", "under a grey sky")


def photo(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Something like a photograph: sky, ground, soft light, a few things and grain."""
    width, height = size
    noise = np.random.default_rng(rng.randrange(2**32))
    down = np.linspace(0, 1, height)[:, None, None]
    sky, ground = (np.array([rng.randrange(60, 230) for _ in range(3)]) for _ in range(2))
    image = Image.fromarray((np.broadcast_to(sky * (1 - down) + ground * down, (height, width, 3))).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randrange(3, 7)):
        x, y, r = rng.randrange(width), rng.randrange(height), rng.randrange(min(size) // 12, min(size) // 4)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_colour(rng))
    image = image.filter(ImageFilter.GaussianBlur(min(size) / 200))
    grain = np.asarray(image, np.float32) + noise.normal(0, 4, (height, width, 1))
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8))


def drawing(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Flat colours with outlines on plain paper."""
    image = Image.new("RGB", size, _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randrange(3, 8)):
        points = [(rng.randrange(size[0]), rng.randrange(size[1])) for _ in range(rng.randrange(3, 6))]
        draw.polygon(points, fill=_colour(rng), outline=(20, 20, 20), width=max(1, min(size) // 100))
    return image


def make_photos(folder: Path, count: int, seed: int, trigger: str = "", captions: bool = True) -> list[Path]:
    """Write `count` pictures, photographs and drawings by turns, as png, jpg, webp and bmp in several sizes.

    Args:
        trigger: the first tag of every caption.
        captions: write a `.txt` beside each picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    paths = []
    for number in range(1, count + 1):
        size = _SIZES[number % len(_SIZES)]
        image = (photo if number % 2 else drawing)(size, rng)
        path = folder / f"picture {number}.{('jpg', 'png', 'webp', 'bmp')[number % 4]}"
        image.save(path, quality=90)
        if captions:
            words = [trigger, rng.choice(_SUBJECTS), rng.choice(_PLACES)]
            path.with_suffix(".txt").write_text(", ".join(filter(None, words)) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def signpost() -> Image.Image:
    """120x80 px with a different colour in each corner, so that every turn and mirror shows."""
    image = Image.new("RGB", (120, 80), (128, 128, 128))
    corners = {(0, 0): (230, 30, 30), (60, 0): (30, 200, 30), (0, 40): (30, 30, 230), (60, 40): (220, 200, 30)}
    for (x, y), colour in corners.items():
        image.paste(colour, (x, y, x + 60, y + 40))
    return image


def save_turned(image: Image.Image, path: Path, orientation: int) -> Path:
    """Store `image` turned as a camera does, with the EXIF orientation that turns it upright again."""
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = image.transpose(turned[orientation]) if orientation in turned else image
    stored.save(path, exif=exif, quality=95)
    return path


def make_nasty(folder: Path) -> dict[str, Path]:
    """One file of each kind that breaks trainers; the readable ones are in `READABLE`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / file for name, file in _NASTY.items()}
    picture, grey = signpost(), np.linspace(0, 65535, 120 * 80).astype(np.uint16).reshape(80, 120)
    picture.convert("CMYK").save(paths["cmyk"], quality=95)
    Image.fromarray(grey).save(paths["deep"])
    picture.convert("1").save(paths["bilevel"])
    picture.convert("L").save(paths["grey"])
    palette = Image.new("P", (40, 40), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(1, (0, 0, 20, 40))
    palette.save(paths["palette"], transparency=0)
    Image.new("RGBA", (40, 40), (200, 0, 0, 0)).save(paths["transparent"])
    frames = [Image.new("RGB", (40, 40), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(paths["gif"], save_all=True, append_images=frames[1:])
    frames[0].save(paths["animated_webp"], save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(paths["apng"], save_all=True, append_images=frames[1:])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(paths["icc"], icc_profile=profile)
    picture.save(paths["broken_icc"], icc_profile=b"no profile")
    Image.new("RGB", (1, 1), (9, 9, 9)).save(paths["dot"])
    Image.new("RGB", (5000, 20), (9, 9, 9)).save(paths["strip"])
    picture.save(paths["wrong_extension"], format="PNG")
    photo((400, 300), random.Random(0)).save(paths["truncated"])
    paths["truncated"].write_bytes(paths["truncated"].read_bytes()[:4000])
    paths["empty"].write_bytes(b"")
    paths["html"].write_text("<html><body>404 Not Found</body></html>", encoding="utf-8")
    paths["postscript"].write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", encoding="ascii")
    paths["bomb"].write_bytes(png_header(20_000, 15_000))
    paths["heic"].write_bytes(b"\0\0\0\x18ftypheic")
    paths["dangling"].symlink_to(folder / "nowhere.png")
    return paths


def png_header(width: int, height: int) -> bytes:
    """A valid 8-bit grey PNG that claims any size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


_NASTY = {
    "cmyk": "cmyk.jpg", "deep": "deep.png", "bilevel": "bilevel.png", "grey": "grey.jpg", "palette": "palette.png",
    "transparent": "transparent.png", "gif": "animated.gif", "animated_webp": "animated.webp", "apng": "animated.png",
    "icc": "icc.jpg", "broken_icc": "broken_icc.jpg", "dot": "dot.png", "strip": "strip.png",
    "wrong_extension": "really_a_png.jpg", "truncated": "truncated.jpg", "empty": "empty.png", "html": "html.jpg",
    "postscript": "postscript.png", "bomb": "bomb.png", "heic": "phone.heic", "dangling": "dangling.png",
}  # fmt: skip
REFUSED_BY_HEADER = {"empty", "html", "postscript", "bomb", "heic", "dangling"}
READABLE = set(_NASTY) - REFUSED_BY_HEADER - {"truncated"}
"""Names of `make_nasty` whose pixels can be had; a truncated file shows only when its pixels are read."""
