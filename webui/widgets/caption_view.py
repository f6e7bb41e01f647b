"""A caption job as HTML: how far it is, then what it would change or has changed, picture by picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from engine.errors import EngineError
from engine.jobs.job import WORKING, Job
from webui.i18n import explain, t
from webui.widgets.html import tag, text
from webui.widgets.notices import problem
from webui.widgets.run_view import bar

MOST = 12
"""Pictures of which the change is shown."""
THUMB = "/atelier/datasets/thumb"


def job_html(job: Job, language: str) -> str:
    """The job as it stands."""
    if job.state in ("queued", *WORKING):
        return _progress(job, language)
    result = job.result or {}
    error = problem(EngineError.from_dict(job.error), language) if job.error else ""
    if not result:
        return error or text("p", t("text.caption.nothing", language), class_="hint", role="status")
    changes, skipped = result.get("changes", []), result.get("skipped", [])
    key = "tried" if job.config["dry_run"] else "written" if job.state == "done" else "written_part"
    head = text("p", t(f"text.caption.{key}", language, count=len(changes)), class_="note note-good", role="status")
    rows = "".join(_change(job.config["dataset"], each, language) for each in changes[:MOST])
    more = t("text.caption.more", language, count=len(changes) - MOST) if len(changes) > MOST else ""
    return (
        error
        + head
        + tag("div", rows, class_="caption-changes")
        + text("p", more, class_="hint") * bool(more)
        + _skipped(skipped, language)
    )


def _progress(job: Job, language: str) -> str:
    progress = job.progress or {}
    done, total = progress.get("done", 0), progress.get("total", 0)
    if job.state == "queued":
        words = t("text.run.queued", language)
    elif progress.get("phase") == "fetch":
        words = t("text.caption.fetching", language, done=f"{done / 1e6:,.0f}", total=f"{total / 1e6:,.0f}")
    elif total:
        words = t("text.caption.at", language, done=done, total=total)
    else:
        words = t("text.caption.loading", language)
    return text("p", words, class_="status", role="status") + bar(done / total if total else 0)


def _change(dataset: str, change: Mapping[str, Any], language: str) -> str:
    source = f"{THUMB}?{urlencode({'dataset': dataset, 'name': change['name'], 'v': 0})}"
    before = change["before"] or t("text.caption.none", language)
    same = text("span", t("text.caption.same", language), class_="hint") if change["before"] == change["after"] else ""
    words = text("span", change["name"], class_="name") + text("del", before) * (not same) + text("ins", change["after"]) + same
    return tag("figure", tag("img", src=source, alt="", loading="lazy") + tag("figcaption", words))


def _skipped(skipped: Sequence[Mapping[str, Any]], language: str) -> str:
    """Every picture that was passed over, with the reason."""
    if not skipped:
        return ""
    told = (EngineError(each["code"], each["message"], **each.get("values", {})) for each in skipped)
    lines = [text("li", f"{each['name']}: {explain(error, language).text}") for each, error in zip(skipped, told, strict=True)]
    return tag("div", text("strong", t("text.caption.skipped", language)) + tag("ul", "".join(lines)), class_="note")
