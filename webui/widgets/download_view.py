"""Downloads as HTML: what will come, how far it is, and in plain words why one ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import EngineError
from engine.jobs.job import WORKING, Job
from webui.i18n import t, table
from webui.widgets.html import esc, tag, text
from webui.widgets.notices import problem
from webui.widgets.run_view import bar
from webui.widgets.words import duration, megabytes

TOKEN_PAGES = {
    "download.gated": "https://huggingface.co/settings/tokens",
    "download.needs_token": "https://civitai.com/user/account",
}
"""Error -> where a token is made."""
BADGES = {"cancelled": "paused"}
"""State -> the one whose colours it has, where that is another."""


def downloads_html(jobs: list[Job], language: str) -> str:
    """One block for each."""
    return "".join(tag("div", download_html(job, language), class_="download") for job in jobs)


def download_html(job: Job, language: str) -> str:
    badge = text("span", t(f"text.down.state.{job.state}", language), class_=f"badge state-{BADGES.get(job.state, job.state)}")
    return tag("h4", esc(job.name) + badge) + _body(job, language)


def _body(job: Job, language: str) -> str:
    if job.state in ("queued", *WORKING):
        return _progress(job, language)
    if job.state == "done":
        result = job.result or {}
        words = t(f"text.down.{'already' if result.get('already') else 'done'}", language, file=result.get("file", ""))
        plan = text("p", plan_words(result, language), class_="hint")
        use = text("span", t(f"text.down.use.{result.get('kind', 'checkpoint')}", language))
        return plan + tag("div", text("strong", words) + use, class_="note note-good", role="status")
    again = text("button", t("text.down.again", language), type="button", class_="insert", data_verb="again", data_job=job.id)
    if job.state == "cancelled":
        return text("p", t("text.down.stopped", language), class_="note", role="status") + again
    error = EngineError.from_dict(job.error) if job.error else EngineError("download.failed", t("text.down.failed", language))
    return problem(error, language) + _links(error, language) + again


def _progress(job: Job, language: str) -> str:
    progress = job.progress or {}
    phase = "queued" if job.state == "queued" else "stopping" if job.state == "pausing" else str(progress.get("phase", "looking"))
    words = [table(language).get(f"text.down.phase.{phase}", phase)]
    done, total = progress.get("done", 0), progress.get("total", 0)
    if total:
        words.append(t("text.run.count", language, done=megabytes(done, language), total=megabytes(total, language)))
    if progress.get("speed"):
        words.append(t("text.down.speed", language, speed=megabytes(round(progress["speed"]), language)))
    if progress.get("seconds_left"):
        words.append(t("text.run.left", language, time=duration(progress["seconds_left"], language)))
    plan = text("p", plan_words(progress["plan"], language), class_="hint") if progress.get("plan") else ""
    status = tag("p", "".join(text("span", word) for word in words), class_="status", role="status")
    stop = text("button", t("text.down.stop", language), type="button", class_="insert", data_verb="stop", data_job=job.id)
    return plan + status + bar(done / total if total else 0) + (stop if job.state != "pausing" else "")


def plan_words(plan: Mapping[str, Any], language: str) -> str:
    """ "SDXL folder · 6.9 GB · 18 files"."""
    family = table(language).get(f"text.family.{plan.get('family', '')}", "")
    kind = t(f"text.down.kind.{plan.get('kind', 'checkpoint')}", language, family=family).strip()
    size = megabytes(int(plan.get("bytes", 0)), language)
    files = int(plan.get("files", 1))
    return " · ".join([kind, size, *([t("text.down.files", language, count=files)] if files > 1 else [])])


def _links(error: EngineError, language: str) -> str:
    """Where the missing permission is got."""
    page = str(error.values.get("page", ""))
    found = [("page", page)] if error.code == "download.gated" and page.startswith("https://") else []
    found += [("token", TOKEN_PAGES[error.code])] if error.code in TOKEN_PAGES else []
    items = "".join(
        tag(
            "li",
            text(
                "a",
                t(f"text.down.link.{name}", language, address=address),
                href=address,
                target="_blank",
                rel="noopener noreferrer",
            ),
        )
        for name, address in found
    )
    return tag("ul", items, class_="plain links") if items else ""
