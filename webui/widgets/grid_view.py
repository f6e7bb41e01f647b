"""A grid of pictures as HTML: a table for each prompt and value of z, labels that stay in sight, every picture a button.

The pictures are small copies, made a few with each look; what is not there yet has an empty place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from engine.errors import EngineError
from engine.grid.axes import AXES
from engine.grid.plan import Line, Place
from engine.grid.record import GridRecord, MadeCell
from engine.jobs.generating import ResultPicture
from engine.workspace import Workspace
from webui.i18n import explain, t, table
from webui.widgets import previews
from webui.widgets.html import esc, tag, text

SIDE = 320
"""Longest side of a small copy, px."""
ROOM, NARROWEST, WIDEST = 400, 72, 200
"""For the pictures of a row, and for one of them, px."""
SHOWN_LABEL, SHOWN_ERROR = 80, 160
"""Characters."""
_VERSION = re.compile(r"epoch (\d+) / step (\d+)")


class Small:
    """Addresses of small copies. After so many seconds no more are made; ask again."""

    def __init__(self, workspace: Workspace, seconds: float) -> None:
        self.workspace, self._until = workspace, monotonic() + seconds
        self.whole = True

    def url(self, file: Path) -> str | None:
        """None where it cannot be read, or not yet, which clears `whole`."""
        try:
            if monotonic() > self._until and not previews.copy_of(self.workspace, file, SIDE).exists():
                self.whole = False
                return None
        except OSError:  # gone meanwhile
            return None
        copy = previews.preview(self.workspace, file, SIDE)
        return previews.url(copy) if copy else None


def grid_html(record: GridRecord, small: Small, working: bool, chosen: str, language: str) -> str:
    """All of a grid.

    Args:
        working: more cells are to come.
        chosen: place and number of the picture that is shown in full, as its button has them.
    """
    cells = {place: cell for cell in record.cells for place in cell.places}
    z = record.lines["z"]
    blocks = []
    for number, prompt in enumerate(record.prompts):
        for depth in range(len(z.labels)):
            title = text("p", prompt, class_="sample-prompt") if depth == 0 else ""
            if z.kind != "none" or z.base:
                title += text("p", f"{axis_name(z, language)} {shown_label(z, depth, language)}".strip(), class_="hint")
            blocks.append(title + _table(record, cells, (number, depth), small, working, chosen, language))
    side = min(max(ROOM // len(record.lines["x"].labels) - 6, NARROWEST), WIDEST)
    return tag("div", "".join(blocks), class_="picture-grid", style=f"--side: {side}px")


def _table(
    record: GridRecord, cells: Mapping[Place, MadeCell], block: tuple[int, int], small: Small, working: bool, chosen: str, language: str
) -> str:  # fmt: skip
    x, y = record.lines["x"], record.lines["y"]
    heads = "".join(text("th", shown_label(x, column, language), scope="col") for column in range(len(x.labels)))
    rows = "".join(
        tag(
            "tr",
            text("th", shown_label(y, row, language), scope="row")
            + "".join(
                _cell(cells.get(place), place, small, working, chosen, language)
                for place in (Place(*block, row, column) for column in range(len(x.labels)))
            ),
        )
        for row in range(len(y.labels))
    )
    head = tag("thead", tag("tr", tag("td", _corner(x, y, language)) + heads))
    return tag("table", head + tag("tbody", rows), class_="" if len(y.labels) > 1 or y.labels[0] else "single")


def _corner(x: Line, y: Line, language: str) -> str:
    """What the columns and the rows are."""
    names = (("→", axis_name(x, language)), ("↓", axis_name(y, language)))
    return "".join(tag("div", esc(f"{arrow} {name}")) for arrow, name in names if name)


def _cell(cell: MadeCell | None, place: Place, small: Small, working: bool, chosen: str, language: str) -> str:
    if cell is None:
        return tag("td", tag("div", class_="waiting" if working else "missing"))
    key = "-".join(map(str, place))
    parts = [_picture(picture, f"{key}-{number}", small, chosen) for number, picture in enumerate(cell.pictures)]
    if cell.error:
        told = explain(EngineError.from_dict(cell.error), language).what
        parts.append(
            text("button", told[:SHOWN_ERROR], type="button", class_="cell-error", data_cell=f"{key}-{len(parts)}", title=told)
        )
    return tag("td", tag("div", "".join(parts), class_="several" if len(parts) > 1 else "cell"))


def _picture(picture: ResultPicture, key: str, small: Small, chosen: str) -> str:
    address = small.url(picture.file)
    inside = tag("img", src=address, alt="", loading="lazy") if address else tag("span", class_="missing")
    inside += text("span", "!", class_="mark") if picture.problems else ""
    return tag(
        "button", inside, type="button", data_cell=key, aria_pressed=str(key == chosen).lower(), title=f"{picture.seed}",
        class_="chosen" if key == chosen else None,
    )  # fmt: skip


def find_cell(record: GridRecord, key: str) -> tuple[MadeCell, ResultPicture | None] | None:
    """The cell and the picture of a button; None where there is no such cell any more. What a browser sends is input like any other."""
    numbers = [int(part) for part in key.split("-") if part.isdecimal()]
    if len(numbers) != len(Place._fields) + 1 or (cell := record.at(Place(*numbers[:-1]))) is None:
        return None
    return cell, cell.pictures[numbers[-1]] if numbers[-1] < len(cell.pictures) else None


def axis_name(line: Line, language: str) -> str:
    """What varies along an axis; "" for nothing."""
    return table(language)[f"grid.x.kind.choice.{line.kind}"] if line.kind != "none" else ""


def shown_label(line: Line, index: int, language: str) -> str:
    """A value of an axis, in the user's language where it is a word of ours."""
    label = line.labels[index]
    if line.base and index == 0:
        return t("text.grid.base", language)
    if line.kind == "none":
        return t("text.grid.with", language) if line.base else ""
    if line.kind == "epoch" and (found := _VERSION.fullmatch(label)):
        return t("text.grid.version", language, epoch=found[1], step=found[2])
    if AXES[line.kind].of_adapter and label.casefold() == "off":
        return t("text.grid.off", language)
    return label if len(label) <= SHOWN_LABEL else f"{label[: SHOWN_LABEL - 1]}…"
