"""What is to say about finished pictures: which adapters were in force and how much of them fitted, and every problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.config.generate import GenerateConfig
from engine.errors import EngineError
from engine.jobs.generating import ResultPicture
from engine.workspace import Workspace
from webui.i18n import t
from webui.widgets.diagnosis_view import late_html
from webui.widgets.html import tag, text
from webui.widgets.notices import problem
from webui.widgets.words import short

TOLD_ELSEWHERE = "adapter.partly_matched"
"""A problem that the line of its adapter tells as well, with the modules."""


def report_html(
    pictures: Sequence[ResultPicture], workspace: Workspace, language: str, config: GenerateConfig | None = None
) -> str:
    """The report of one request; all its pictures share adapters and problems.

    Args:
        config: of the request, to tell why an adapter may not show.
    """
    if not pictures:
        return ""
    first = pictures[0]
    problems = [EngineError.from_dict(each) for each in first.problems if each.get("code") != TOLD_ELSEWHERE]
    lines = "".join(_adapter(each, language) for each in first.adapters)
    parts = [
        *(problem(each, language) + _instead(each, language) for each in problems),
        tag("ul", lines, class_="applied") if lines else "",
        late_html(config, first.infotext, first.adapters, workspace, language) if config else "",
        text("p", t("text.gen.saved", language, folder=first.file.parent), class_="hint path"),
    ]
    return "".join(parts)


def _instead(error: EngineError, language: str) -> str:
    """Buttons that write another name into the prompt, for a name that means nothing or too much."""
    near = str(error.values.get("nearest") or error.values.get("candidates") or "")
    names = [name for name in near.split(", ") if name] if error.code.startswith("prompt.adapter_") else []
    buttons = "".join(
        text("button", name, type="button", class_="chip", data_instead=error.values.get("name", ""), data_name=name)
        for name in names
    )
    return tag("p", text("span", t("text.gen.instead", language)) + buttons, class_="instead") if buttons else ""


def _adapter(adapter: Mapping[str, Any], language: str) -> str:
    """One adapter, from a job row: name, strengths, matched and total modules, how it was in force."""
    matched, total = int(adapter.get("matched", 0)), int(adapter.get("total", 0))
    unet, encoder = float(adapter.get("unet", 1)), float(adapter.get("text_encoder", 1))
    strength = short(unet) if unet == encoder else f"{short(encoder)} / {short(unet)}"
    key = "text.gen.applied" if matched == total else "text.gen.applied_part"
    words = t(key, language, name=adapter.get("name", ""), matched=matched, total=total, strength=strength)
    mode = adapter.get("mode")
    badge = text("span", t(f"text.gen.mode_{mode}", language), class_="badge") if mode in ("merged", "beside") else ""
    missing = [str(module) for module in adapter.get("unmatched", ())]
    listing = tag("ul", "".join(text("li", module) for module in missing), class_="modules")
    more = tag("details", text("summary", t("text.gen.unmatched", language)) + listing) if missing else ""
    return tag("li", text("span", words) + badge + more, class_="good" if matched == total else "warn")
