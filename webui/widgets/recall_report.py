"""What became of the fields of a picture's text, as HTML. All of it was written by a stranger and is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from engine.recall import Line, Recalled
from webui.i18n import t
from webui.widgets.html import tag, text

SHOWN = 160
"""Characters of a value."""
CLASSES = {"taken": "good", "translated": "warn", "ignored": "hint", "unknown": "bad"}


def recall_html(recalled: Recalled, language: str) -> str:
    """What was not taken as it stood, with reasons, and what was, folded away."""
    taken = [line for line in recalled.report if line.fate == "taken"]
    others = [line for line in recalled.report if line.fate != "taken"]
    parts = [_table(others, language) if others else ""]
    if taken:
        head = text("summary", t("text.recall.taken", language, count=len(taken)))
        parts.insert(0, tag("details", head + _table(taken, language)))
    return tag("div", "".join(parts), class_="recalled", role="status") if recalled.report else ""


def _table(lines: Sequence[Line], language: str) -> str:
    return tag("table", tag("tbody", "".join(_row(line, language) for line in lines)))


def _row(line: Line, language: str) -> str:
    value = line.value if len(line.value) <= SHOWN else f"{line.value[:SHOWN]}…"
    name = line.field or t("text.recall.whole", language)
    became = text("strong", f"→ {line.became}") if line.became else ""
    why = text("span", t(f"text.recall.why.{line.reason}", language)) if line.reason else ""
    fate = text("span", t(f"text.recall.fate.{line.fate}", language), class_=CLASSES[line.fate])
    return tag("tr", text("th", name, scope="row") + tag("td", text("span", value) + became) + tag("td", fate + why))
