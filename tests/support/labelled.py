"""Drawn pictures of which it is known whether they are sharp or blurred, text or none, bordered or not.

Every kind that a measure could stumble over is in it: photographs with grain, flat cartoons, smooth gradients, pure noise,
fine patterns that look like writing, white paper around a drawing. Drawn from a seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tests.support.pictures import drawing, photo

Draw = Callable[[tuple[int, int], random.Random], Image.Image]
WORDS = [
    "the",
    "a",
    "quick",
    "robot",
    "stands",
    "in",
    "garden",
    "with",
    "red",
    "balloon",
    "and",
    "looks",
    "at",
    "you",
    "while",
    "evening",
    "light",
    "falls",
    "on",
    "quiet",
    "water",
]


def camera(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A photograph: crisp edges under grain."""
    grain = np.random.default_rng(rng.randrange(2**32)).normal(0, rng.uniform(1, 5), (size[1], size[0], 1))
    return Image.fromarray((np.asarray(shapes(size, rng), np.float32) + grain).clip(0, 255).astype(np.uint8))


def cartoon(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A figure of few flat colours with thick smooth outlines on plain paper."""
    scale = 4
    large = Image.new("RGB", (size[0] * scale, size[1] * scale), _pale(rng))
    draw, line = ImageDraw.Draw(large), max(2, min(large.size) // 90)
    width, height = large.size
    x, y = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.35, 0.5)
    head, ink = min(large.size) * rng.uniform(0.15, 0.25), (20, 20, 30)
    body = (x - head * 0.8, y + head * 0.6, x + head * 0.8, y + head * 2.6)
    draw.rounded_rectangle(body, head / 3, fill=_colour(rng), outline=ink, width=line)
    draw.ellipse((x - head, y - head, x + head, y + head), fill=_colour(rng), outline=ink, width=line)
    for side in (-1, 1):
        draw.ellipse((x + side * head * 0.4 - head / 9, y - head / 9, x + side * head * 0.4 + head / 9, y + head / 9), fill=ink)
    draw.arc((x - head / 3, y, x + head / 3, y + head / 2), 20, 160, fill=ink, width=line)
    return large.resize(size, Image.Resampling.LANCZOS)


def shapes(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Filled shapes, antialiased, on a gradient."""
    picture = gradient(size, rng).resize((size[0] * 2, size[1] * 2))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randrange(2, 6)):
        x, y, r = (
            rng.randrange(picture.width),
            rng.randrange(picture.height),
            rng.randrange(picture.width // 16, picture.width // 4),
        )
        draw.regular_polygon((x, y, r), rng.randrange(3, 8), rng.randrange(360), fill=_colour(rng))
    return picture.resize(size, Image.Resampling.LANCZOS)


def gradient(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A smooth run of colour, nothing on it."""
    first, last = (np.array(_colour(rng), np.float64) for _ in range(2))
    angle = rng.uniform(0, 6.28)
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    share = ((x * np.cos(angle) + y * np.sin(angle)) / 2.9 + 0.5)[..., None]
    return Image.fromarray((first * share + last * (1 - share)).clip(0, 255).astype(np.uint8))


def noise(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Nothing but noise."""
    values = np.random.default_rng(rng.randrange(2**32)).normal(128, rng.uniform(10, 60), (size[1], size[0], 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def scene(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A photograph with a sharp subject before a blurred background, as a portrait lens draws it."""
    back = photo(size, rng).filter(ImageFilter.GaussianBlur(min(size) / 40))
    mask = Image.new("L", size, 0)
    x, y, r = size[0] // 2, size[1] // 2, int(min(size) * rng.uniform(0.15, 0.35))
    ImageDraw.Draw(mask).ellipse((x - r, y - r, x + r, y + r), fill=255)
    return Image.composite(shapes(size, rng), back, mask.filter(ImageFilter.GaussianBlur(0.7)))


def foliage(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Many fine strokes of changing light, as grass, hair and leaves are."""
    picture = photo(size, rng).resize((size[0] * 2, size[1] * 2))
    draw, scale = ImageDraw.Draw(picture), min(size) / 256
    for _ in range(1500):
        x, y, angle = rng.randrange(picture.width), rng.randrange(picture.height), rng.uniform(0, 6.28)
        length, shade = rng.uniform(5, 30) * scale, rng.randrange(30, 220)
        end = (x + length * np.cos(angle), y + length * np.sin(angle))
        draw.line((x, y, *end), fill=(shade // 2, shade, shade // 3), width=max(1, round(rng.uniform(0.5, 2) * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


SHARP: dict[str, Draw] = {
    "camera": camera, "drawing": drawing, "cartoon": cartoon, "shapes": shapes, "scene": scene, "foliage": foliage,
}  # fmt: skip
"""Pictures with something on them, in focus."""
NOTHING_TO_FOCUS: dict[str, Draw] = {"gradient": gradient, "noise": noise}
"""Pictures that cannot be blurred in the sense of a lens: they must not be called so."""


# ---- text ----


def page(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A page of Western text."""
    picture = Image.new("RGB", size, _pale(rng))
    _write(picture, (0.05, 0.05, 0.95, 0.95), max(11, int(size[1] * rng.uniform(0.022, 0.05))), _words, rng)
    return picture


def japanese_page(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A page of something like Japanese: square signs of few strokes, drawn without a font."""
    picture = Image.new("RGB", size, _pale(rng))
    side = max(11, int(size[1] * rng.uniform(0.03, 0.05)))
    _signs(picture, (0.05, 0.05, 0.95, 0.95), side, rng)
    return picture


def poster(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A drawing with two blocks of large words over it."""
    picture = photo(size, rng)
    for top in (0.05, 0.62):
        _write(picture, (0.05, top, 0.95, top + 0.33), int(size[1] * rng.uniform(0.06, 0.1)), _words, rng, (255, 255, 255), 2)
    return picture


def comic(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Panels full of speech balloons."""
    picture = cartoon(size, rng)
    draw = ImageDraw.Draw(picture)
    for left, top in ((0.02, 0.02), (0.52, 0.02), (0.02, 0.68), (0.52, 0.68)):
        box = (left, top, left + 0.46, top + 0.3)
        edges = [round(share * size[axis % 2]) for axis, share in enumerate(box)]
        draw.rounded_rectangle(edges, 20, fill=(255, 255, 255), outline=(0, 0, 0), width=3)
        inner = (left + 0.04, top + 0.03, left + 0.42, top + 0.27)
        _write(picture, inner, max(11, int(size[1] * 0.035)), _words, rng, (0, 0, 0))
    return picture


def screenshot(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A window of some program: a list of lines beside a text."""
    picture = Image.new("RGB", size, (250, 250, 250))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, size[0], size[1] // 14), fill=(60, 70, 90))
    draw.rectangle((0, size[1] // 14, size[0] // 4, size[1]), fill=(225, 228, 235))
    letters = max(11, size[1] // 36)
    _write(picture, (0.02, 0.1, 0.24, 0.95), letters, _words, rng, (40, 40, 40))
    _write(picture, (0.28, 0.1, 0.97, 0.95), letters, _words, rng, (20, 20, 20))
    return picture


TEXT: dict[str, Draw] = {"page": page, "japanese page": japanese_page, "poster": poster, "comic": comic, "screenshot": screenshot}


def signed(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A picture with a signature or a small mark in its corner, which is no reason to leave it out."""
    picture = rng.choice([photo, cartoon, foliage])(size, rng)
    font = ImageFont.load_default(max(11, size[1] // 30))
    ImageDraw.Draw(picture).text(
        (size[0] * 0.7, size[1] * 0.94), "(c) somebody 2024", (250, 250, 250), font, stroke_width=1, stroke_fill=(0, 0, 0)
    )
    return picture


def dots(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A dress of dots in rows."""
    picture, step = Image.new("RGB", size, _colour(rng)), rng.randrange(14, 40)
    draw, ink = ImageDraw.Draw(picture), _colour(rng)
    for row, y in enumerate(range(0, size[1], step)):
        for x in range(row % 2 * step // 2, size[0], step):
            draw.ellipse((x, y, x + step // 3, y + step // 3), fill=ink)
    return picture


def bricks(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A wall."""
    picture, height = Image.new("RGB", size, (200, 195, 190)), rng.randrange(16, 40)
    draw = ImageDraw.Draw(picture)
    for row, y in enumerate(range(0, size[1], height)):
        for x in range(-(row % 2) * height, size[0], height * 2):
            tone = rng.randrange(-20, 20)
            draw.rectangle((x, y, x + height * 2 - 3, y + height - 3), fill=(160 + tone, 80 + tone, 60 + tone))
    return picture


def windows(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Houses at night: rows of lit windows of one size a house."""
    picture = Image.new("RGB", size, (15, 18, 40))
    draw, x = ImageDraw.Draw(picture), 0
    while x < size[0]:
        width, top, cell = rng.randrange(80, 160), rng.randrange(size[1] // 6, size[1] // 2), rng.randrange(14, 26)
        draw.rectangle((x, top, x + width, size[1]), fill=(40, 44, 60))
        for row in range(top + 8, size[1], cell):
            for column in range(x + 6, x + width - cell, cell):
                if rng.random() < 0.6:
                    draw.rectangle((column, row, column + cell // 2, row + cell * 2 // 3), fill=(250, 220, 120))
        x += width + rng.randrange(0, 20)
    return picture


NO_TEXT: dict[str, Draw] = {**SHARP, **NOTHING_TO_FOCUS, "signed": signed, "dots": dots, "bricks": bricks, "windows": windows}


# ---- borders ----


def letterboxed(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A picture between two bars above and below, or left and right."""
    bars = rng.uniform(0.04, 0.2)
    axis = rng.randrange(2)
    inner = [size[0], size[1]]
    inner[axis] = round(size[axis] * (1 - 2 * bars))
    return _framed(size, (inner[0], inner[1]), rng)


def framed(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A picture with a frame all around."""
    share = rng.uniform(0.04, 0.12)
    return _framed(size, (round(size[0] * (1 - 2 * share)), round(size[1] * (1 - 2 * share))), rng)


def _framed(size: tuple[int, int], inner: tuple[int, int], rng: random.Random) -> Image.Image:
    picture = Image.new("RGB", size, rng.choice([(0, 0, 0), (255, 255, 255), (12, 12, 12), (240, 240, 240)]))
    picture.paste(
        rng.choice([photo, drawing, shapes, foliage])(inner, rng), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
    )
    return picture


def on_paper(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A figure on white paper: empty all around, but no bars."""
    picture = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    x, y, r = size[0] // 2, size[1] // 2, int(min(size) * rng.uniform(0.2, 0.35))
    draw.ellipse((x - r, y - r, x + r, y + r), fill=_colour(rng), outline=(0, 0, 0), width=4)
    draw.rectangle((x - r // 2, y + r // 2, x + r // 2, y + int(r * 1.2)), fill=_colour(rng), outline=(0, 0, 0), width=4)
    return picture


def horizon(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A plain sky over plain ground with something between: flat areas at two edges, of two colours."""
    picture = Image.new("RGB", size, _colour(rng))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, int(size[1] * rng.uniform(0.5, 0.8)), size[0], size[1]), fill=_colour(rng))
    x, y, r = size[0] // 2, size[1] // 2, size[1] // 5
    draw.ellipse((x - r, y - r, x + r, y + r), fill=_colour(rng))
    return picture


BORDERED: dict[str, Draw] = {"letterboxed": letterboxed, "framed": framed}
NOT_BORDERED: dict[str, Draw] = {**NO_TEXT, **TEXT, "on paper": on_paper, "horizon": horizon}


def _write(
    picture: Image.Image, box: tuple[float, float, float, float], height: int, words: Callable[[random.Random], str],
    rng: random.Random, ink: tuple[int, int, int] | None = None, stroke: int = 0,
) -> None:  # fmt: skip
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(height)
    left, top, right, bottom = (share * picture.size[axis % 2] for axis, share in enumerate(box))
    ink = ink or (rng.randrange(70), rng.randrange(70), rng.randrange(70))
    y = top
    while y + height < bottom:
        line = words(rng)
        while (longer := f"{line} {words(rng)}") and draw.textlength(longer, font) < right - left:
            line = longer
        draw.text((left, y), line, ink, font, stroke_width=stroke, stroke_fill=(0, 0, 0))
        y += height * 1.35


def _words(rng: random.Random) -> str:
    return rng.choice(WORDS)


def _signs(picture: Image.Image, box: tuple[float, float, float, float], side: int, rng: random.Random) -> None:
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = (int(share * picture.size[axis % 2]) for axis, share in enumerate(box))
    for y in range(top, bottom - side, int(side * 1.5)):
        for x in range(left, right - side, int(side * 1.08)):
            if rng.random() < 0.05:
                continue
            pen = (rng.random(), rng.random())
            for _ in range(rng.randrange(4, 10)):  # a stroke begins where one ended, and is mostly level or upright
                to = (rng.random(), pen[1]) if rng.random() < 0.5 else (pen[0], rng.random())
                to = to if rng.random() < 0.8 else (rng.random(), rng.random())
                points = [(x + 0.9 * side * px, y + 0.9 * side * py) for px, py in (pen, to)]
                draw.line(points, fill=(20, 20, 20), width=max(1, side // 10))
                pen = to


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _pale(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(200, 256), rng.randrange(200, 256), rng.randrange(200, 256)
