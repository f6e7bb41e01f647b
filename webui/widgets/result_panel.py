"""What a picture job is doing and what came of it: progress with the picture on its way, the pictures, and what is to know of them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engine.config.generate import GenerateConfig
from engine.config.load import validate
from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.generating import ResultPicture
from engine.jobs.job import Job
from engine.jobs.store import JobStore
from engine.workspace import Workspace
from webui.context import Context
from webui.i18n import label, t
from webui.widgets.html import tag, text
from webui.widgets.notices import empty, problem
from webui.widgets.picture_report import report_html
from webui.widgets.previews import url
from webui.widgets.run_view import bar
from webui.widgets.words import duration

SECONDS = 0.25
"""Between two looks at a picture job."""
UNENDED = ("queued", "running", "pausing")


class ResultPanel:
    """The components, and their updates for a job."""

    def __init__(self, context: Context) -> None:
        self.context, self.workspace = context, context.workspace
        self.jobs: JobStore = context.jobs
        self.job = gr.State("")
        self.timer = gr.Timer(SECONDS, active=False)

    def place(self, stop: Any, skip: Any) -> None:
        """Make the components where the layout now stands.

        Args:
            stop, skip: the buttons that are seen while a job is under way.
        """
        self.status = gr.HTML(elem_id="generate-status")
        self.gallery = gr.Gallery(
            type="filepath", format="png", label=label("gen.gallery"), elem_id="generate-gallery", columns=2, object_fit="contain",
            height="auto", visible=False, interactive=False, buttons=["download", "fullscreen"], preview=True,
        )  # fmt: skip
        self.slider = gr.ImageSlider(
            type="filepath",
            format="png",
            label=label("gen.compare"),  # type: ignore[arg-type]  # its annotation forgets what the component can do
            elem_id="generate-compare-view",
            visible=False,
            interactive=False,
        )
        self.report = gr.HTML(elem_id="generate-report")
        self.parameters = gr.Textbox(
            label=label("gen.parameters"), lines=4, max_lines=12, interactive=False, buttons=["copy"], visible=False,
            elem_id="generate-parameters",
        )  # fmt: skip
        self.shown = [
            self.job, self.timer, self.status, stop, skip, self.gallery, self.slider, self.report, self.parameters,
        ]  # fmt: skip

    def latest(self, language: str) -> list[Any]:
        """Updates of `shown` for the job made last."""
        last = next(iter(self.jobs.list(limit=1, kinds=("generate",))), None)
        return self.show(last, language) if last else self.nothing(language)

    def look(self, id: str, language: str) -> list[Any]:
        try:
            return self.show(self.jobs.get(id), language)
        except EngineError:
            return self.nothing(language)

    def told(self, html: str) -> list[Any]:
        """Updates that only say something."""
        return [gr.skip(), gr.skip(), html, *[gr.skip()] * 6]

    def nothing(self, language: str) -> list[Any]:
        hidden = gr.update(visible=False)
        return ["", gr.Timer(active=False), _nothing_yet(language), *[hidden] * 4, "", hidden]

    def show(self, job: Job, language: str) -> list[Any]:
        """On the way, ended badly, or its pictures. The last pictures stay until new ones come."""
        if job.state in UNENDED:
            self.context.ensure_worker()  # also finds out when the worker has died with the job
            several = job.config.get("batch_count", 1) > 1 and job.state == "running"
            waiting = _waiting(job, self.workspace, language)
            return [job.id, gr.Timer(active=True), waiting, gr.update(visible=True), gr.update(visible=several), *[gr.skip()] * 4]
        over, gone = [job.id, gr.Timer(active=False)], [gr.update(visible=False)] * 2
        pictures = actions.pictures(job, self.workspace)
        words = _ended(job, bool(pictures), language)
        return [*over, words, *gone, *(self._pictures(job, pictures, language) if pictures else [gr.skip()] * 4)]

    def _pictures(self, job: Job, pictures: list[ResultPicture], language: str) -> list[Any]:
        made, bare = [each for each in pictures if not each.without], [each for each in pictures if each.without]
        pair = (str(bare[0].file), str(made[0].file)) if len(made) == len(bare) == 1 else None
        return [
            gr.update(
                value=None if pair else [(str(each.file), None) for each in pictures],
                visible=not pair,
                selected_index=0 if len(pictures) == 1 else None,
            ),
            gr.update(value=pair, visible=bool(pair)),
            report_html(made, self.workspace, language, validate(GenerateConfig, job.config)),
            gr.update(value=made[0].infotext if made else "", visible=True),
        ]

    def pictures(self, id: str) -> list[ResultPicture]:
        """The pictures of a job; none when there is no such job."""
        try:
            return actions.pictures(self.jobs.get(id), self.workspace)
        except EngineError:
            return []


def _nothing_yet(language: str) -> str:
    return empty(t("text.gen.empty_title", language), t("text.gen.empty", language))


def _ended(job: Job, any_: bool, language: str) -> str:
    """What is said of a job that has ended."""
    if job.state == "done" and any_:
        seconds = (job.finished or 0) - (job.started or 0)
        return text("p", t("text.gen.done", language, time=duration(seconds, language)), class_="hint", role="status")
    if job.error:
        return problem(EngineError.from_dict(job.error), language, t("text.gen.unbroken", language))
    if job.state == "done":
        return _nothing_yet(language)
    return text("p", t("text.gen.stopped" if any_ else f"text.state.{job.state}", language), class_="hint", role="status")


def _waiting(job: Job, workspace: Workspace, language: str) -> str:
    progress = job.progress or {}
    done, total, left = progress.get("done", 0), progress.get("total", 0), progress.get("seconds_left")
    if job.state == "queued":
        words = t("text.gen.queued", language)
    elif total and left is not None and left >= 1:
        words = t("text.gen.progress_left", language, done=done, total=total, left=duration(left, language))
    elif total:
        words = t("text.gen.progress", language, done=done, total=total)
    else:
        words = t("text.gen.waiting", language)
    line = text("p", words, class_="status", role="status") + bar(done / total if total else 0)
    if "preview" not in progress:
        return line
    source = url(workspace.root / progress["preview"])
    return line + tag("img", src=source, class_="preview", alt=t("text.gen.preview", language))
