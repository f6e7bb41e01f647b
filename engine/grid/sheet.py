"""A grid as one picture: the cells with labels beside rows and above columns, a block for each prompt and value of z."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import ceil, sqrt
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from engine.formats.infotext import png_bytes, quote
from engine.grid.axes import AXES
from engine.grid.plan import Line, Place
from engine.grid.record import SHEET, GridRecord
from engine.jobs.generating import ResultPicture
from engine.workspace import atomic_write

SMALLEST = 192
"""Pictures with a shorter side, in px, are enlarged by a whole factor, so that labels have room."""
MOST_PIXELS = 120_000_000
"""Of the whole sheet; larger ones are made of smaller pictures."""
FONTS = ("DejaVuSans.ttf", "arial.ttf", "Arial.ttf")
CJK_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansJP-Regular.otf",
    "NotoSerifCJK-Regular.ttc",
    "YuGothR.ttc",
    "msgothic.ttc",
    "Hiragino Sans GB.ttc",
)
MOST_LINES = 6
"""Lines of a label; longer ones end in dots."""
INK, PAPER = "black", "white"


class Size(NamedTuple):
    width: int
    height: int


class Block(NamedTuple):
    """A prompt and a value of z: title, and the rows of its cells."""

    title: str
    rows: list[list[list[ResultPicture]]]


def draw_sheet(record: GridRecord) -> Path | None:
    """Write `sheet.png` with what there is of a grid; None when there is nothing."""
    blocks = [block for block in _blocks(record) if any(cell for row in block.rows for cell in row)]
    if not blocks:
        return None
    labels = {letter: [_label(line, index) for index in range(len(line.labels))] for letter, line in record.lines.items()}
    cell = _cell_size(blocks, len(blocks) * len(labels["x"]) * len(labels["y"]))
    sheet = _draw(blocks, labels["x"], labels["y"], cell)
    file = record.folder / SHEET
    with atomic_write(file) as stream:
        stream.write(png_bytes(sheet, grid_infotext(record)))
    return file


def grid_infotext(record: GridRecord) -> str:
    """The recipe of the first picture that is not of the base column, and the axes as AUTOMATIC1111 names them."""
    told = ["Script: X/Y/Z plot"]
    based = [letter for letter, line in record.lines.items() if line.base]
    for letter, line in record.lines.items():
        if line.kind != "none":
            values = line.values.strip() or ", ".join(line.labels[line.base :])
            told += [f"{letter.upper()} Type: {quote(AXES[line.kind].name)}", f"{letter.upper()} Values: {quote(values)}"]
    varied = [cell for cell in record.cells if not any(getattr(place, letter) == 0 for place in cell.places for letter in based)]
    pictures = [picture for cell in [*varied, *record.cells] for picture in cell.pictures]
    return ", ".join([pictures[0].infotext, *told])


def _blocks(record: GridRecord) -> Iterator[Block]:
    there = {place: [each for each in cell.pictures if each.file.is_file()] for cell in record.cells for place in cell.places}
    x, y, z = (record.lines[letter] for letter in "xyz")
    for number, prompt in enumerate(record.prompts):
        for depth in range(len(z.labels)):
            title = [_label(z, depth), " ".join(prompt.split()) if len(record.prompts) > 1 else ""]
            rows = [
                [there.get(Place(number, depth, row, column), []) for column in range(len(x.labels))]
                for row in range(len(y.labels))
            ]
            yield Block("\n".join(part for part in title if part), rows)


def _label(line: Line, index: int) -> str:
    """What stands beside a row or column; a number with the name of its axis."""
    plain = line.kind == "none" or (line.base and index == 0) or not AXES[line.kind].bare
    return line.labels[index] if plain else f"{AXES[line.kind].name}: {line.labels[index]}"


def _cell_size(blocks: Sequence[Block], cells: int) -> Size:
    """The size of the largest cell, enlarged or made smaller."""
    pictures = [pictures for block in blocks for row in block.rows for pictures in row if pictures]
    sizes = []
    for several in pictures:
        with Image.open(several[0].file) as image:
            sizes.append((image.width * _across(several), image.height * ceil(len(several) / _across(several))))
    width, height = max(width for width, _ in sizes), max(height for _, height in sizes)
    factor = max(1.0, ceil(SMALLEST / min(width, height)))
    factor = min(factor, sqrt(MOST_PIXELS / (cells * width * height)))
    return Size(max(1, round(width * factor)), max(1, round(height * factor)))


def _across(pictures: Sequence[Any]) -> int:
    """How many pictures of a cell stand side by side."""
    return ceil(sqrt(len(pictures)))


def _draw(blocks: Sequence[Block], columns: Sequence[str], rows: Sequence[str], cell: Size) -> Image.Image:
    font_size = max(12, min(cell) // 14)
    gap = max(2, font_size // 3)
    heads, sides = ([wrap(label, font_size, cell.width - gap) for label in labels] for labels in (columns, rows))
    side = max(map(_text_width, sides)) + 2 * gap if any(rows) else 0
    head = max(map(_text_height, heads)) + 2 * gap if any(columns) else 0
    width = side + len(columns) * (cell.width + gap)
    titles = [wrap(block.title, font_size, width - 2 * gap) for block in blocks]
    heights = [
        (_text_height(title) + 2 * gap if block.title else 0) + head + len(rows) * (cell.height + gap)
        for block, title in zip(blocks, titles, strict=True)
    ]
    sheet = Image.new("RGB", (width, sum(heights) + (len(blocks) - 1) * font_size), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = 0
    for block, title, height in zip(blocks, titles, heights, strict=True):
        down = top
        if block.title:
            _write(pen, title, (width // 2, down + gap))
            down += _text_height(title) + 2 * gap
        for column, text in enumerate(heads):
            _write(pen, text, (side + column * (cell.width + gap) + cell.width // 2, down + head - gap - _text_height(text)))
        down += head
        for text, cells in zip(sides, block.rows, strict=True):
            _write(pen, text, (side // 2, down + (cell.height - _text_height(text)) // 2))
            for column, pictures in enumerate(cells):
                _paste(sheet, pictures, (side + column * (cell.width + gap), down), cell)
            down += cell.height + gap
        top += height + font_size
    return sheet


def _paste(sheet: Image.Image, pictures: Sequence[ResultPicture], corner: tuple[int, int], cell: Size) -> None:
    """The pictures of a cell, side by side, as large as they fit."""
    across = _across(pictures) if pictures else 1
    down = ceil(len(pictures) / across)
    for number, picture in enumerate(pictures):
        room = Size(cell.width // across, cell.height // down)
        with Image.open(picture.file) as opened:
            image = opened.convert("RGB")
        factor = min(room.width / image.width, room.height / image.height)
        size = round(image.width * factor), round(image.height * factor)
        image = image.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS)
        row, column = divmod(number, across)
        sheet.paste(image, (corner[0] + column * room.width, corner[1] + row * room.height))


class Text(NamedTuple):
    """A wrapped label."""

    lines: tuple[str, ...]
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    spacing: int


def wrap(label: str, size: int, width: int) -> Text:
    """A label in lines no wider than `width` px, broken at spaces where there are any."""
    font = _font(size, label.isascii())
    lines: list[str] = []
    for part in label.split("\n"):
        line = ""
        for character in part:
            if font.getlength(line + character) <= width or not line:
                line += character
                continue
            kept, space, carried = line.rpartition(" ")
            if character == " " or not space:
                kept, carried = line, ""
            lines.append(kept)
            line = (carried + character).lstrip()
        lines.append(line)
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1][:-1]}…"]
    return Text(tuple(lines), font, ceil(size * 1.25))


@lru_cache(maxsize=16)
def _font(size: int, plain: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font of this machine; Pillow's own, which knows Latin letters only, where it has none of them."""
    for name in FONTS if plain else (*CJK_FONTS, *FONTS):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _text_width(text: Text) -> int:
    return max(ceil(text.font.getlength(line)) for line in text.lines)


def _text_height(text: Text) -> int:
    return len(text.lines) * text.spacing


def _write(pen: ImageDraw.ImageDraw, text: Text, top_middle: tuple[int, int]) -> None:
    """Lines below each other, each centred."""
    for number, line in enumerate(text.lines):
        left = top_middle[0] - text.font.getlength(line) / 2
        pen.text((left, top_middle[1] + number * text.spacing), line, fill=INK, font=text.font)
