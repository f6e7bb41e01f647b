"""Styles: words kept in a file that are added to both prompts, as AUTOMATIC1111's `styles.csv` has them."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.errors import PromptError
from engine.workspace import Workspace, atomic_write

COLUMNS = ("name", "prompt", "negative_prompt")
PLACE = "{prompt}"
"""Where in a style the prompt goes; without it the style follows the prompt."""


class Style(NamedTuple):
    prompt: str = ""
    negative_prompt: str = ""


def styles_file(workspace: Workspace) -> Path:
    return workspace.root / "styles.csv"


def read_styles(workspace: Workspace) -> dict[str, Style]:
    """Name -> style, in the file's order; of two of one name the last. None where there is no file.

    Raises:
        PromptError: `styles.unreadable`.
    """
    file = styles_file(workspace)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, restval="")
            missing = [column for column in COLUMNS if column not in (rows.fieldnames or COLUMNS)]
            if missing:
                raise _unreadable(f"its first line lacks {', '.join(missing)}")
            return {row["name"]: Style(row["prompt"], row["negative_prompt"]) for row in rows if row["name"]}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(str(error)) from error


def write_styles(workspace: Workspace, styles: Mapping[str, Style]) -> None:
    """Write all styles, in the place of those that are there."""
    written = io.StringIO(newline="")
    rows = csv.writer(written)
    rows.writerow(COLUMNS)
    rows.writerows((name, *style) for name, style in styles.items())
    with atomic_write(styles_file(workspace)) as stream:
        stream.write(written.getvalue().encode("utf-8-sig"))  # spreadsheets know UTF-8 by its mark


def apply_styles(
    prompt: str, negative: str, names: Sequence[str], styles: Mapping[str, Style]
) -> tuple[str, str, list[PromptError]]:
    """Both prompts with the styles of these names, one after the other, and what cannot be honoured (`prompt.style_unknown`)."""
    problems: list[PromptError] = []
    for name in names:
        if name not in styles:
            problems.append(_unknown(name, styles))
            continue
        prompt, negative = _add(prompt, styles[name].prompt), _add(negative, styles[name].negative_prompt)
    return prompt, negative, problems


def _add(prompt: str, style: str) -> str:
    if PLACE in style:
        return style.replace(PLACE, prompt)
    return ", ".join(part for part in (prompt.strip(), style.strip()) if part) if style.strip() else prompt


def _unknown(name: str, styles: Mapping[str, Style]) -> PromptError:
    near = ", ".join(difflib.get_close_matches(name, styles, n=3, cutoff=0.5))
    return PromptError(
        "prompt.style_unknown", f"There is no style {name!r}.", f"The nearest names are {near}." if near else "",
        "Choose another one, or write it into styles.csv.", name=name, nearest=near,
    )  # fmt: skip


def _unreadable(reason: str) -> PromptError:
    return PromptError(
        "styles.unreadable", f"styles.csv cannot be read: {reason}.", f"A CSV file in UTF-8 with the columns {', '.join(COLUMNS)}.",
        "Correct it, or move it away.", reason=reason,
    )  # fmt: skip
