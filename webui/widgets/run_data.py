"""Whether the pictures and captions of a run are still those that it began with, in a line for its page."""

from __future__ import annotations

import time
from collections import Counter
from functools import lru_cache
from pathlib import Path, PurePosixPath

from engine.datasets.captions import CAPTION_EXTENSIONS
from engine.datasets.content import Changes, changes_since, read_content
from engine.datasets.decode import EXTENSIONS
from engine.errors import DatasetError, EngineError
from engine.jobs.job import WORKING, Job
from engine.workspace import Workspace, safe_join
from webui.i18n import explain, t
from webui.widgets.html import text

SECONDS = 10.0
"""How old the answer may be: a page that rests asks again and again."""


def data_html(job: Job, workspace: Workspace, language: str) -> str:
    """Nothing while the run works, which has read its data, and for runs that recorded none."""
    if not job.folder or job.state in ("queued", *WORKING):
        return ""
    try:
        run = safe_join(workspace.root, job.folder)
        folder = workspace.dataset_folder(str(job.config.get("dataset", {}).get("folder", "")))
        changes = _changes(run, folder, int(time.monotonic() / SECONDS))
    except DatasetError as error:
        return text("p", explain(error, language).what, class_="hint")
    except EngineError:
        return text("p", t("text.run.data_gone", language), class_="hint")
    return "" if changes is None else text("p", changes_words(changes, language), class_="hint")


@lru_cache(maxsize=16)
def _changes(run: Path, folder: Path, _moment: int) -> Changes | None:
    content = read_content(run)
    return changes_since(content, folder) if content else None


def changes_words(changes: Changes, language: str) -> str:
    """ "The data has changed since: changed captions: 2, new pictures: 1"."""
    if not changes:
        return t("text.run.data_same", language)
    parts = [
        t(f"text.run.data.{change}_{kind}", language, count=count)
        for change in ("added", "changed", "removed")
        for kind, count in sorted(Counter(map(_kind, getattr(changes, change))).items())
    ]
    return t("text.run.data_changed", language, list=t("text.run.data.then", language).join(parts))


def _kind(name: str) -> str:
    ending = PurePosixPath(name).suffix.lower()
    return "caption" if ending in CAPTION_EXTENSIONS else "picture" if ending in EXTENSIONS else "file"
