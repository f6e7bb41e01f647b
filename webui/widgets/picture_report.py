"""What is to say about finished pictures: which adapters were in force and how much of them fitted, and every problem."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import EngineError
from engine.jobs.generating import ResultPicture
from engine.workspace import Workspace
from webui.i18n import t
from webui.widgets.html import tag, text
from webui.widgets.notices import problem
from webui.widgets.words import short


def report_html(pictures: Sequence[ResultPicture], workspace: Workspace, language: str) -> str:
    """The report of one request; all its pictures share adapters and problems."""
    if not pictures:
        return ""
    first = pictures[0]
    parts = [problem(EngineError.from_dict(each), language) for each in first.problems]
    lines = "".join(_adapter(each, language) for each in first.adapters)
    parts.append(tag("ul", lines, class_="applied") if lines else "")
    parts.append(text("p", t("text.gen.saved", language, folder=first.file.parent), class_="hint path"))
    return "".join(parts)


def _adapter(adapter: dict, language: str) -> str:
    """One adapter, from a job row: name, strengths, matched and total modules."""
    matched, total = int(adapter.get("matched", 0)), int(adapter.get("total", 0))
    unet, encoder = float(adapter.get("unet", 1)), float(adapter.get("text_encoder", 1))
    strength = short(unet) if unet == encoder else f"{short(encoder)} / {short(unet)}"
    key = "text.gen.applied" if matched == total else "text.gen.applied_part"
    words = t(key, language, name=adapter.get("name", ""), matched=matched, total=total, strength=strength)
    return text("li", words, class_="good" if matched == total else "warn")
