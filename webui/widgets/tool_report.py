"""What came out of a tool job as HTML: the file, and the numbers that say how exact it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from engine.errors import EngineError
from engine.jobs.job import WORKING, Job
from webui.i18n import t, table
from webui.widgets.adapter_detail import facts_html
from webui.widgets.bars import Bar, bars_svg
from webui.widgets.html import esc, tag, text
from webui.widgets.notices import problem
from webui.widgets.run_view import bar, state_badge
from webui.widgets.words import short

COUNTS = (
    "modules", "whole", "unchanged", "same", "layers", "tensors", "parameters", "broken",
)  # fmt: skip
"""Numbers of a report that stand as they are."""
SHARES = ("error_mean", "error_max", "left_out")
"""Relative errors."""
WORDS = ("worst", "format_before", "dtype", "needs_base", "hash")


def tool_name(job: Job, language: str) -> str:
    """What the tool of a job is called."""
    kind = str(job.config.get("tool", {}).get("kind", ""))
    return table(language).get(f"tools.tool.kind.choice.{kind}", kind)


def job_html(job: Job, language: str) -> str:
    """A tool job: how far it is, why it failed, or its report."""
    title = tag("h3", esc(job.name) + state_badge(job, language)) + text("p", tool_name(job, language), class_="hint")
    if job.state in ("queued", *WORKING):
        progress = job.progress or {}
        done, total = progress.get("done", 0), progress.get("total", 0)
        words = t("text.run.count", language, done=done, total=total) if total else t("text.tool.working", language)
        words = t("text.run.queued", language) if job.state == "queued" else words
        return title + text("p", words, class_="status", role="status") + bar(done / total if total else 0)
    if job.state == "done":
        return title + report_html(job.result or {}, language)
    return title + (problem(EngineError.from_dict(job.error), language) if job.error else "")


def report_html(result: Mapping[str, Any], language: str) -> str:
    """The result of a tool: {"file": name or "", "report": numbers, words and tables}."""
    file, report = str(result.get("file") or ""), result.get("report") or {}
    saved = text("p", t("text.tool.saved", language, file=file), class_="note note-good", role="status") if file else ""
    rows = facts_html({t(f"text.report.{name}", language): words for name, words in facts(report, language).items()})
    return saved + (rows or "") + _blocks(report, language) + _names(report, language)


def facts(report: Mapping[str, Any], language: str) -> dict[str, str]:
    """The single numbers and words of a report, as they are written."""
    found = {name: f"{report[name]:,}" for name in COUNTS if report.get(name)}
    for name, suffix in (("rank", ""), ("rank_before", "_before")):
        low, high = report.get(f"rank_lowest{suffix}", 0), report.get(f"rank_highest{suffix}", 0)
        if high:
            found[name] = str(low) if low == high else f"{low}–{high}"
    found |= {name: share(report[name]) for name in SHARES if isinstance(report.get(name), int | float)}
    found |= {name: str(report[name]) for name in WORDS if report.get(name)}
    if "total" in report:
        found["matched"] = t("text.run.count", language, done=report["matched"], total=report["total"])
    for each in report.get("files", ()):
        found["matched"] = f"{found.get('matched', '')} {each['file']}: {each['matched']} / {each['total']}".strip()
    if report.get("changed"):
        found["changed"] = ", ".join(table(language).get(f"tools.tool.{name}.label", name) for name in report["changed"])
    if report.get("embeddings"):
        found["embeddings"] = ", ".join(f"{name} ({count})" for name, count in report["embeddings"].items())
    return found


def share(value: float) -> str:
    """A relative error as a percentage; exact where nothing was lost."""
    if not math.isfinite(value):
        return "∞"
    return f"{100 * value:.2g} %" if value else "0 %"


def _blocks(report: Mapping[str, Any], language: str) -> str:
    """Sizes of the change by block."""
    blocks = report.get("blocks") or {}
    sizes = {name: each["size"] if isinstance(each, Mapping) else each for name, each in blocks.items()}
    bars = [Bar(name, size, short(size)) for name, size in sizes.items() if math.isfinite(size)]
    return text("h4", t("text.report.blocks", language)) + bars_svg(bars, t("text.report.blocks", language)) if bars else ""


def _names(report: Mapping[str, Any], language: str) -> str:
    """Lists of tensors or modules that something is wrong with."""
    parts = ""
    for name in ("not_finite", "unmatched"):
        if listed := report.get(name):
            lines = "".join(text("li", each) for each in listed)
            parts += tag("details", text("summary", t(f"text.report.{name}", language, count=len(listed))) + tag("ul", lines))
    if report.get("not_finite") == [] and "total" not in report and "modules" in report:
        parts += text("p", t("text.report.all_finite", language), class_="good")
    return parts
