"""The tools for adapter files: one form for all of them, and the job that the last press started.

Tools work in the worker; while a job is under way a timer looks at its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from engine import library
from engine.config.tools import ToolConfig
from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.job import WORKING, Job
from webui.context import Context, reported
from webui.forms import PRESS, Form
from webui.i18n import label, t
from webui.widgets.html import text
from webui.widgets.notices import plain_problem, problem
from webui.widgets.tool_report import job_html

SECONDS = 0.5
"""Between two looks at a job."""
LISTED = ("tool.file", "tool.other")
"""Fields that name one adapter."""
MODELS = ("tool.model", "tool.tuned")


class ToolBench:
    """Components in the place where it is made.

    Attributes:
        load: function that fills the lists, with `load_outputs`.
        shown: state with the name of the adapter that the last finished job wrote, "" for none.
    """

    def __init__(self, context: Context) -> None:
        self.context, self.workspace = context, context.workspace
        self.form = Form("tool", ToolConfig, "tools.")
        self.press, self.marked, self.job, self.shown = gr.Textbox(visible=False), gr.State([]), gr.State(""), gr.State("")
        self.timer = gr.Timer(SECONDS, active=False)
        with gr.Column(elem_classes=["card"], elem_id="tool-bench"):
            self._layout()
        self._listen()

    def _layout(self) -> None:
        place = self.form.place
        place("tool.kind", info=None)
        self.about = gr.HTML(elem_id="tool-about")
        for key in LISTED[:1]:
            place(key)
        place("tool.files")
        self.add = gr.Dropdown(label=label("tools.add"), choices=[], value=None, elem_id="tool-add", visible=False)
        self.form.place_level("tool.", "basic")
        place("output.name")
        with gr.Accordion(label("gen.advanced"), open=False, elem_id="tool-advanced"), gr.Row(elem_classes=["fields"]):
            self.form.place_level("tool.", "advanced")
            self.form.place_level("tool.", "expert")
        self.start = gr.Button(label("tools.start"), variant="primary", elem_id="tool-start")
        self.trouble = gr.HTML(elem_id="tool-trouble", visible=False)
        self.report = gr.HTML(elem_id="tool-report")
        with gr.Row(elem_classes=["buttons"]):
            self.show = gr.Button(label("tools.show"), elem_id="tool-show", visible=False, size="md")
            self.cancel = gr.Button(label("gen.stop"), elem_id="tool-cancel", visible=False, size="md")

    def _listen(self) -> None:
        form = self.form
        kind = form.components["tool.kind"]
        self.explained = [self.about, self.add, form.components["output.name"]]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        kind.change(form.seen, form.inputs, form.inputs, queue=False, **quiet)
        kind.change(self.explain, kind, self.explained, queue=False, **quiet)
        files = form.components["tool.files"]
        self.add.input(_appended, [files, self.add], [files, self.add], queue=False, **quiet)
        looks = [self.job, self.timer, self.report, self.show, self.cancel, self.shown]
        started = [self.trouble, self.marked, *looks, *form.inputs]
        self.start.click(self._start, [self.press, self.marked, *form.inputs], started, js=PRESS, concurrency_limit=None, **quiet)
        self.ticked = self.timer.tick(self._look, self.job, looks, queue=False, **quiet)
        self.cancel.click(self._cancel, self.job, looks, queue=False, **quiet)
        self.load_inputs = [kind]
        self.load_outputs = [*self.explained, *(form.components[key] for key in (*LISTED, *MODELS))]

    def load(self, request: gr.Request, kind: str) -> list[Any]:
        """The adapters and models there are now."""
        names, models = list(library.adapter_names(self.workspace)), [library.STARTER, *library.model_names(self.workspace)]
        about, add, name = self.explain(request, kind)
        return [
            about,
            {**add, "choices": names},
            name,
            *[gr.update(choices=names)] * len(LISTED),
            *[gr.update(choices=models)] * len(MODELS),
        ]

    def explain(self, request: gr.Request, kind: str) -> list[Any]:
        """What the chosen tool does, in a line; whether it takes a list of files; whether it writes one."""
        words = text("p", t(f"text.tool.kind.{kind}", self.context.language(request)), class_="hint")
        return [
            words, gr.update(visible=self.form.fields["tool.files"].belongs_to(kind)), gr.update(visible=kind != "inspect"),
        ]  # fmt: skip

    def _start(self, request: gr.Request, press: str, marked: list[str], *values: Any) -> list[Any]:
        """The tool stands in the queue, or every problem stands at its field."""
        language = self.context.language(request)
        checked = self.form.check(values, language)
        problems: dict[str | None, str] = dict(checked.problems)
        errors: list[EngineError] = []
        job = None
        if checked.config:
            with reported(errors):
                self.context.check_owner(request)
                job = actions.start_tool(checked.config, self.workspace, press or None)
                self.context.ensure_worker()
        for error in errors:
            problems |= self.form.problem_of(error, language)
        trouble = ""
        if problems:
            trouble = problem(errors[0], language) if errors else plain_problem(self.form.headline(problems, language))
        looks = self._shown(job, language) if job else [gr.skip()] * 6
        marks = [key for key in problems if key]
        return [gr.update(value=trouble, visible=bool(trouble)), marks, *looks, *self.form.mark(problems, marked, language)]

    def _look(self, request: gr.Request, id: str) -> list[Any]:
        try:
            return self._shown(self.context.jobs.get(id), self.context.language(request))
        except EngineError:
            return ["", gr.Timer(active=False), "", gr.update(visible=False), gr.update(visible=False), ""]

    def _cancel(self, request: gr.Request, id: str) -> list[Any]:
        with reported([]):
            self.context.check_owner(request)
            actions.cancel(self.context.jobs.get(id), self.workspace)
        return self._look(request, id)

    def _shown(self, job: Job, language: str) -> list[Any]:
        working = job.state in ("queued", *WORKING)
        if working:
            self.context.ensure_worker()  # also finds out when the worker has died with the job
        made = made_adapter(job)
        return [
            job.id, gr.Timer(active=working), job_html(job, language), gr.update(visible=bool(made)), gr.update(visible=working), made,
        ]  # fmt: skip


def made_adapter(job: Job) -> str:
    """Name of the adapter that a finished job wrote, "" for none."""
    file = str((job.result or {}).get("file") or "") if job.state == "done" else ""
    return file.removesuffix(".safetensors") if job.config.get("tool", {}).get("kind") != "bake" else ""


def _appended(files: str, name: str | None) -> tuple[str, None]:
    """The list with one more line."""
    lines: Sequence[str] = [*(files or "").splitlines(), *([f"{name}:1"] if name else [])]
    return "\n".join(line for line in lines if line.strip()), None
