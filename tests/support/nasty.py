"""The dataset that breaks trainers: thirty hostile pictures and every kind of caption file, with what is to be found of each."""

from __future__ import annotations

import random
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.labelled import shapes
from tests.support.pictures import make_nasty, photo, save_turned

JAPANESE, CHINESE, WESTERN = (
    "robot, 女の子, 笑顔, 青い目, 校庭に立っている",
    "robot, 一个女孩, 微笑, 长发, 白色背景",
    "robot, née à l'été",
)
PICTURES: dict[str, set[str]] = {
    "cmyk.jpg": {"picture.cmyk"},
    "deep.png": {"picture.deep"},
    "deep_colour.png": {"picture.deep"},
    "bilevel.png": {"picture.palette"},
    "grey.jpg": set(),
    "palette.png": {"picture.palette", "picture.alpha", "picture.too_small"},
    "transparent.png": {"picture.alpha", "picture.too_small"},
    "animated.gif": {"picture.animated", "picture.palette", "picture.too_small"},
    "animated.webp": {"picture.animated", "picture.too_small", "picture.same_stem"},
    "animated.png": {"picture.animated", "picture.too_small", "picture.same_stem"},
    "icc.jpg": set(),
    "broken_icc.jpg": set(),
    "dot.png": {"picture.too_small"},
    "strip.png": {"picture.extreme_aspect", "picture.too_small"},
    "really_a_png.jpg": {"picture.wrong_extension"},
    "truncated.jpg": {"picture.damaged"},
    "empty.png": {"picture.empty"},
    "html.jpg": {"picture.unreadable"},
    "postscript.png": {"picture.unreadable"},
    "bomb.png": {"picture.too_large"},
    "phone.heic": {"picture.unreadable"},
    "newer.jxl": {"picture.unreadable"},
    "dangling.png": {"picture.unreadable"},
    "twice.png": set(),
    "twice.webp": {"picture.same_stem"},
    "modern.avif": set(),
    **{f"turned {orientation}.jpg": {"picture.turned"} for orientation in range(2, 9)},
}
"""File -> codes of what is wrong with it as a file. The others show one and the same signpost, which is a finding of its own."""
CAPTIONS: dict[str, tuple[bytes, set[str]]] = {
    "utf8": (JAPANESE.encode(), set()),
    "bom": (JAPANESE.encode("utf-8-sig"), set()),
    "utf16": (JAPANESE.encode("utf-16"), set()),
    "utf16be": (JAPANESE.encode("utf-16-be"), set()),
    "sjis": (JAPANESE.encode("cp932"), set()),
    "euc": (JAPANESE.encode("euc_jp"), set()),
    "gbk": (CHINESE.encode("gbk"), set()),
    "latin": (WESTERN.encode("latin-1"), set()),
    "crlf": (b"robot, a\r\nsecond line\r\n", {"caption.further_lines"}),
    "empty": (b"", {"caption.empty"}),
    "blank": (b" \r\n", {"caption.empty"}),
    "long": (b"robot, " + b"ball, " * 17_000, {"caption.long"}),
    "nul": (b"robot\0with a hole", {"caption.undecodable"}),
    "korean": ("소녀가 웃고 있다".encode("euc_kr"), {"caption.undecodable"}),
    "binary": (bytes(range(128, 256)), {"caption.undecodable"}),
    "none": (b"", {"caption.missing"}),
    unicodedata.normalize("NFD", "ガ é"): (JAPANESE.encode(), set()),
}
"""Stem -> bytes of the caption file, and codes of what is wrong with it."""


def make_nasty_pictures(folder: Path) -> dict[str, set[str]]:
    """Write the pictures, each with an ordinary caption; returns PICTURES."""
    paths = {path.name for path in make_nasty(folder).values()}
    _sign().save(folder / "twice.png")
    photo((160, 120), random.Random(2)).save(folder / "twice.webp")
    _sign(1).save(folder / "modern.avif")
    (folder / "deep_colour.png").write_bytes(_deep_colour_png(96, 64))
    (folder / "newer.jxl").write_bytes(b"\xff\x0a" + bytes(40))
    for orientation in range(2, 9):
        save_turned(_sign(orientation), folder / f"turned {orientation}.jpg", orientation)
    assert paths <= set(PICTURES)
    for name in PICTURES:
        (folder / name).with_suffix(".txt").write_text(f"robot, picture {name}", encoding="utf-8")
    return PICTURES


def make_nasty_captions(folder: Path) -> dict[str, set[str]]:
    """Write ordinary pictures with the captions; returns file -> codes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (stem, (data, codes)) in enumerate(CAPTIONS.items()):
        _sign(100 + number).save(folder / f"{stem}.png")
        if codes != {"caption.missing"}:
            # the caption of a decomposed name is composed, as when a Mac's folder is copied
            (folder / f"{unicodedata.normalize('NFC', stem)}.txt").write_bytes(data)
    return {f"{stem}.png": codes for stem, (_, codes) in CAPTIONS.items()}


def _sign(seed: int = 0) -> Image.Image:
    return shapes((160, 120), random.Random(seed))


def _deep_colour_png(width: int, height: int) -> bytes:
    """A PNG of 16 bits for each of three colours, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.random.default_rng(5).integers(0, 65536, (height // 16, width // 16, 3), np.uint16).repeat(16, 0).repeat(16, 1)
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
