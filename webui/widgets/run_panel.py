"""The run view with its buttons, as a group of components that redraws itself while the run works.

The run lives in the worker. This only reads its row and log, so a reload, a second tab or a new server sees the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import gradio as gr

from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.job import RESUMABLE, WORKING, Job
from webui.context import Context, reported
from webui.i18n import label
from webui.widgets.notices import problem
from webui.widgets.run_view import curve_html, files_html, head_html, samples_html
from webui.widgets.runs import RunReader

SECONDS = 1.0
"""Between two looks at a working run."""
SLOW_SECONDS = 5.0
"""Between two looks at a run that rests: another page may resume it."""


RESTING = ("paused", "lost")


class RunPanel:
    """Components in the place where it is made.

    Attributes:
        job: state with the id of the run shown, "" for none.
        outputs: what `render` returns updates for.
        ticked: each look at a working run, for what else shall follow it.
    """

    def __init__(self, context: Context, reader: RunReader, name: str) -> None:
        self.context, self.reader = context, reader
        self.job = gr.State("")
        self.seen = gr.State({})
        self.timer = gr.Timer(SECONDS, active=False)
        with gr.Column(visible=False, elem_id=f"{name}-panel", elem_classes=["card", "run"]) as self.box:
            self.head = gr.HTML(elem_id=f"{name}-head")
            self.trouble = gr.HTML(elem_id=f"{name}-trouble", visible=False)
            with gr.Row(elem_classes=["buttons"]):
                self.try_it = gr.Button(label("run.try"), variant="primary", elem_id=f"{name}-try", visible=False, size="md")
                self.compare = gr.Button(label("run.compare"), elem_id=f"{name}-compare", visible=False, size="md")
                self.resume = gr.Button(
                    label("run.resume"), variant="primary", elem_id=f"{name}-resume", visible=False, size="md"
                )
                self.stop = gr.Button(label("run.stop"), elem_id=f"{name}-stop", visible=False, size="md")
                self.cancel = gr.Button(label("run.cancel"), elem_id=f"{name}-cancel", visible=False, size="md")
            self.samples = gr.HTML(elem_id=f"{name}-samples")
            with gr.Row(elem_classes=["run-details"]):
                self.curve = gr.HTML(elem_id=f"{name}-curve", min_width=420)
                self.files = gr.HTML(elem_id=f"{name}-files", min_width=260)
        self.outputs: list[Any] = [
            self.job, self.seen, self.timer, self.box, self.head, self.trouble, self.stop, self.resume, self.cancel, self.try_it,
            self.compare, self.curve, self.samples, self.files,
        ]  # fmt: skip
        quiet: dict[str, Any] = {"outputs": self.outputs, "show_progress": "hidden", "api_visibility": "private"}
        self.ticked = self.timer.tick(self._tick, [self.job, self.seen], queue=False, **quiet)
        for button, verb in ((self.stop, actions.stop), (self.resume, actions.resume), (self.cancel, actions.cancel)):
            button.click(self._does(verb), [self.job], queue=False, **quiet)

    def _tick(self, job: str, seen: dict, request: gr.Request) -> list[Any]:
        return self.render(job, seen, self.context.language(request))

    def _does(self, verb: Callable[..., Job]) -> Callable[..., list[Any]]:
        def press(job: str, request: gr.Request) -> list[Any]:
            problems: list[EngineError] = []
            language = self.context.language(request)
            with reported(problems):
                self.context.check_owner(request)
                verb(self.context.jobs.get(job), self.context.workspace)
            return self.render(job, {}, language, problem(problems[0], language) if problems else "")

        return press

    def find(self, id: str) -> Job | None:
        """The training job with this id, if there is one."""
        try:
            job = self.context.jobs.get(id)
        except EngineError:
            return None
        return job if job.kind == "train" else None

    def render(self, id: str, seen: dict, language: str, trouble: str | None = None) -> list[Any]:
        """Updates for `outputs` that show a run; what has not changed since `seen` is left alone, so that nothing flickers.

        `trouble` is what went wrong with the last press of a button; None leaves what stands there.
        """
        job = self.find(id) if id else None
        if job is None:
            return ["", {}, gr.Timer(active=False), gr.update(visible=False), *[gr.skip()] * (len(self.outputs) - 4)]
        view, working = self.reader.view(job), job.state in ("queued", *WORKING)
        trying = job.state == "done" or (job.state == "running" and view.step > 0)
        drawn = {
            "state": (job.id, working, job.state in RESTING),
            "head": head_html(job, view, language),
            "stop": job.state == "running",
            "resume": job.state in RESUMABLE,
            "cancel": job.state == "queued",
            "try": trying,
            "compare": job.state == "done",
            "curve": curve_html(job, view, language),
            "samples": samples_html(job, view, self.context.workspace, language),
            "files": files_html(job, view, self.context.workspace, language),
        }
        now = {name: hashlib.sha1(repr(value).encode()).hexdigest() for name, value in drawn.items()}
        changed = {name for name in drawn if now[name] != seen.get(name)}

        def shown(name: str, **update: Any) -> Any:
            return gr.update(**update) if name in changed else gr.skip()

        return [
            id,
            now,
            shown("state", value=SECONDS if working else SLOW_SECONDS, active=working or job.state in RESTING),
            shown("state", visible=True),
            shown("head", value=drawn["head"]),
            gr.skip() if trouble is None else gr.update(value=trouble, visible=bool(trouble)),
            *(shown(name, visible=drawn[name]) for name in ("stop", "resume", "cancel", "try", "compare")),
            *(shown(name, value=drawn[name]) for name in ("curve", "samples", "files")),
        ]
