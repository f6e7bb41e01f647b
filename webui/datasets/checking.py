"""The doctor on the page: a check is begun and watched, its findings are told in the visitor's language, and one click puts them right."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from engine.config.check import CheckConfig
from engine.config.load import validate
from engine.datasets.doctor import Finding, Kept
from engine.datasets.doctor.remedies import ELSEWHERE, apply_remedy
from engine.errors import DatasetError, EngineError
from engine.jobs import actions
from engine.jobs.job import WORKING, Job
from webui.context import Context
from webui.datasets.opened import Asked, Here, Opened, open_dataset
from webui.datasets.replies import Json, told
from webui.i18n import explain

router = APIRouter(default_response_class=Json)
RECENT = 20
"""Checks among which the one of a dataset is looked for."""
FACES = 6
"""Pictures that are shown with a finding."""


class Check(Asked):
    """`config`: the fields of a `CheckConfig` besides the dataset."""

    config: dict[str, Any] = {}


class Remedy(Asked):
    """`at`: when the report was made; `findings`: places in it, all of one remedy."""

    at: float
    findings: list[int]


@router.post("/check")
def begin(asked: Check, context: Here) -> dict[str, Any]:
    open_dataset(asked.dataset, context)
    config = validate(CheckConfig, {**asked.config, "dataset": asked.dataset.strip()})
    context.ensure_files()
    return {"job": actions.start_check(config, context.workspace).id}


@router.get("/check")
def look(dataset: str, request: Request, context: Here) -> dict[str, Any]:
    """`{state, done, total, error, report}`: how the newest check stands, and what is still true of the last report."""
    opened, language = open_dataset(dataset, context), context.language(request)
    job = _newest(opened, context)
    working = job is not None and job.state in ("queued", *WORKING)
    progress = (job.progress if job and working else None) or {}
    return {
        "state": job.state if job else "none", "done": progress.get("done", 0), "total": progress.get("total", 0),
        "error": told(EngineError.from_dict(job.error), language) if job and job.state == "failed" and job.error else None,
        "report": _report(opened, opened.checked, language) if opened.checked else None,
    }  # fmt: skip


@router.delete("/check")
def cancel(dataset: str, context: Here) -> dict[str, Any]:
    """Harmless where none is at work."""
    job = _newest(open_dataset(dataset, context), context)
    if job and job.state in ("queued", *WORKING):
        actions.cancel(job, context.workspace)
    return {}


@router.post("/remedy")
def remedy(asked: Remedy, context: Here) -> dict[str, Any]:
    """Put findings right, which can be undone."""
    opened = open_dataset(asked.dataset, context)
    kept = opened.checked
    if kept is None or kept.at != asked.at or not all(0 <= place < len(kept.report.findings) for place in asked.findings):
        raise DatasetError(
            "check.superseded", "The dataset has been checked again meanwhile.", todo="Look at the new findings."
        )  # fmt: skip
    findings = [kept.report.findings[place] for place in asked.findings]
    names = [name for found in findings for name in (found.file, *found.also)]
    try:
        mended = apply_remedy(opened.journal, findings)
    finally:
        opened.album.refresh()
    return {"names": list(dict.fromkeys([*mended, *names])), "history": opened.history()}


def _newest(opened: Opened, context: Context) -> Job | None:
    jobs = context.jobs.list(limit=RECENT, kinds=("check",))
    return next((job for job in jobs if job.config["dataset"] in (opened.dataset, str(opened.folder))), None)


def _report(opened: Opened, kept: Kept, language: str) -> dict[str, Any]:
    report, places = kept.standing, {id(found): place for place, found in enumerate(kept.report.findings)}
    return {
        "at": kept.at, "outdated": bool(kept.changed), "verdict": report.verdict, "counts": report.counts, "facts": report.facts,
        "findings": [{"place": places[id(found)], **_told(found, opened, language)} for found in report.findings],
    }  # fmt: skip


def _told(found: Finding, opened: Opened, language: str) -> dict[str, Any]:
    said, entries = explain(found.error, language), opened.album.entries
    names = [name for name in dict.fromkeys((found.file, *found.also)) if name in entries]
    pictures = [{"name": name, "v": str(entries[name].stamp), "readable": entries[name].width > 0} for name in names[:FACES]]
    return {
        "code": found.code, "severity": found.severity, "file": found.file, "message": " ".join(filter(None, (said.what, said.expected))),
        "todo": said.todo, "remedy": found.remedy, "elsewhere": found.remedy == ELSEWHERE, "names": names, "pictures": pictures,
    }  # fmt: skip
