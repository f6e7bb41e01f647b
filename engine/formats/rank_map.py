"""The ranks of an adapter as a picture: a row for each layer, in the order in which the model runs through them.

The colour of a cell is a rank, from 0 to the highest in the file. Where attention heads have ranks of their own (ARD-LoRA),
the row is cut into them. Read from the header alone, without torch. Everything in it was written by a stranger: names are
escaped and cut, what is said of heads must agree with the file's own shapes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

from engine.formats.adapter_layout import MAX_RANK
from engine.formats.module_facts import module_facts, place
from engine.formats.safetensors_header import read_header

HEAD_RANKS = "ss_head_ranks"
"""Metadata key: a JSON object, module -> the continuous rank of each head."""
MOST_ROWS, MOST_HEADS, MOST_METADATA = 2000, 256, 4 * 2**20
"""Rows of a picture; heads of a layer; bytes of the metadata value."""

ROW, TOP, GAP = 14, 56, 8
"""Height of a row, of the head of the picture, and of the space between two blocks, px."""
BLOCK, NAME, CELLS, NUMBER = 108, 300, 256, 48
"""Widths of the columns, px."""
LETTERS = 52
"""That fit the column of names."""
LIGHT, DARK = (222, 235, 247), (8, 48, 107)
"""Colours of a rank just above 0 and of the highest; 0 is white."""
NONE = "#d9d9d9"
"""Colour of a layer whose algorithm has no rank."""
PARTS = (
    "resnets", "conv1", "in", "time", "emb", "conv2", "attentions", "projin", "transformer", "self", "attn1", "attn2",
    "q", "k", "v", "out", "ff", "mlp", "projout",
)  # fmt: skip
"""Words of module names in the order in which a model runs through what they name."""


@dataclass(frozen=True)
class LayerRank:
    """A row.

    Attributes:
        name, block: as in `engine.formats.module_facts`.
        rank: of the module in the file; None for algorithms without one.
        heads: the rank of each head, which need not be whole; empty where they have none of their own.
    """

    name: str
    block: str
    rank: int | None
    heads: tuple[float, ...] = ()

    @property
    def cells(self) -> tuple[float, ...]:
        return self.heads or (() if self.rank is None else (float(self.rank),))


def layer_ranks(path: Path | str) -> list[LayerRank]:
    """The layers of a file, in model order.

    Raises:
        ModelError, AdapterError: as `engine.formats.summary.describe`.
    """
    facts = module_facts(path)
    heads = _head_ranks(read_header(path).metadata.get(HEAD_RANKS, ""))
    rows = [LayerRank(name, each.block, each.rank, _believed(heads.get(name), each.rank)) for name, each in facts.items()]
    return sorted(rows, key=lambda row: (place(row.block), row.block, _order(row.name)))


def rank_map_svg(layers: Sequence[LayerRank], title: str) -> str:
    """The picture, as an SVG document that needs no style sheet."""
    shown = layers[:MOST_ROWS]
    highest = max((cell for layer in layers for cell in layer.cells), default=0.0)
    parts, y = [_head(title, highest)], float(TOP)
    for block, rows in groupby(shown, key=lambda layer: layer.block):
        drawn = list(rows)
        cut = _shared([layer.name for layer in drawn])
        parts.append(_text(GAP, y, block, "font-weight='bold'"))
        for layer in drawn:
            parts.append(_row(layer, layer.name[cut:], y, highest))
            y += ROW
        y += GAP
    if rest := len(layers) - len(shown):
        parts.append(_text(BLOCK, y, f"+ {rest}"))
        y += ROW
    width, height = BLOCK + NAME + CELLS + NUMBER, y + GAP
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height:g}' width='{width}' height='{height:g}' role='img' "
        f"font-family='sans-serif' font-size='11' fill='#1a1a1a'><title>{_safe(title)}</title>"
        f"<rect width='100%' height='100%' fill='#ffffff'/>{''.join(parts)}</svg>"
    )


def colour(rank: float, highest: float) -> str:
    """White for no rank, then from light to dark."""
    if rank <= 0:
        return "#ffffff"
    share = min(1.0, rank / highest)
    return "#" + "".join(f"{round(light + (dark - light) * share):02x}" for light, dark in zip(LIGHT, DARK, strict=True))


def _head(title: str, highest: float) -> str:
    """The title, and the colours with the ranks they mean."""
    steps = 32
    scale = "".join(
        _cell(BLOCK + NAME + CELLS * step / steps, TOP - 26, CELLS / steps, colour(highest * step / (steps - 1), highest))
        for step in range(steps if highest else 0)
    )
    ends = ((BLOCK + NAME - 12, "0"), (BLOCK + NAME + CELLS + 6, _number(highest))) if highest else ()
    scale += "".join(_text(x, TOP - 26, words) for x, words in ends)
    return _text(GAP, 8, title, "font-size='13' font-weight='bold'") + scale


def _row(layer: LayerRank, name: str, y: float, highest: float) -> str:
    """A name, the cells, and the rank as a number; heads are told by their mean."""
    short = name if len(name) <= LETTERS else "…" + name[-LETTERS:]
    cells, left = layer.cells, BLOCK + NAME
    width = CELLS / max(1, len(cells))
    drawn = "".join(_cell(left + index * width, y, width, colour(rank, highest)) for index, rank in enumerate(cells))
    number = _number(sum(cells) / len(cells)) if cells else "–"
    said = f"{layer.name}: {', '.join(map(_number, cells)) or number}"
    body = _text(BLOCK, y, short) + (drawn or _cell(left, y, CELLS, NONE)) + _text(left + CELLS + 6, y, number)
    return f"<g><title>{_safe(said)}</title>{body}</g>"


def _cell(x: float, y: float, width: float, fill: str) -> str:
    return (
        f"<rect x='{x:g}' y='{y + 1:g}' width='{width:g}' height='{ROW - 2}' fill='{fill}' stroke='#8c8c8c' stroke-width='0.4'/>"
    )


def _text(x: float, y: float, words: str, style: str = "") -> str:
    return f"<text x='{x:g}' y='{y + ROW - 4:g}' {style}>{_safe(words)}</text>"


def _number(rank: float) -> str:
    return f"{rank:.2f}".rstrip("0").rstrip(".")


def _safe(words: str) -> str:
    """Without what XML forbids: control characters and halves of surrogate pairs are not printable."""
    return escape("".join(letter for letter in words[:300] if letter.isprintable()))


def _shared(names: Sequence[str]) -> int:
    """Length of what all names of a block begin with, up to a separator."""
    pairs = enumerate(zip(min(names), max(names), strict=False))
    length = next((index for index, (one, other) in pairs if one != other), 0)
    return max(names[0].rfind("_", 0, length), names[0].rfind(".", 0, length)) + 1


def _order(name: str) -> list[tuple[int, int, str]]:
    """A sort key: known words by their place in a model, numbers by value, the rest by alphabet."""
    words = re.split(r"[._]", name.replace("proj_in", "projin").replace("proj_out", "projout"))
    return [
        (PARTS.index(word) if word in PARTS else len(PARTS), int(word) if word.isdecimal() and len(word) < 9 else 0, word)
        for word in words
    ]


def _head_ranks(text: str) -> dict[str, object]:
    try:
        told = json.loads(text) if 0 < len(text) <= MOST_METADATA else {}
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _believed(told: object, rank: int | None) -> tuple[float, ...]:
    """The ranks of heads, if they are numbers and the highest is the module's rank, rounded up; a tool may have changed that."""
    if rank is None or not isinstance(told, list) or not 0 < len(told) <= MOST_HEADS:
        return ()
    if not all(isinstance(each, int | float) and 0 <= each <= MAX_RANK for each in told):
        return ()
    return tuple(map(float, told)) if max(1, math.ceil(max(told))) == rank else ()
