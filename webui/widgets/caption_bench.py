"""Automatic captions below the pictures of a dataset: which tagger, a try on three pictures, and the job that writes.

What is open and selected is known by the room of the dataset in the browser; it comes along with each press.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from engine.config.caption import CaptionConfig
from engine.datasets.album import open_album
from engine.datasets.album_query import Query
from engine.datasets.dataset_file import read_dataset_file
from engine.datasets.taggers.place import tagger_names
from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.job import WORKING, Job
from webui.context import Context, reported
from webui.forms import Form
from webui.i18n import label, t
from webui.widgets.caption_view import job_html
from webui.widgets.notices import plain_problem, problem

SECONDS = 0.5
"""Between two looks at a job."""
TRIED = 3
"""Pictures that a try looks at."""
FIRST_SECONDS = 0.5
"""For finding the first pictures of a dataset that has just been opened."""
GIVEN = """(...given) => {{
    const room = window.atelierDataset;
    given[0] = window.atelier.press() + '-{button}';
    given[1] = JSON.stringify({{ dataset: room?.dataset ?? '', names: room?.names() ?? [] }});
    return given;
}}"""
"""A press of a button, with the open dataset and the names of the selected pictures."""
NEWS = """(news) => {
    const [dataset] = JSON.parse(news || '[""]');
    if (dataset && window.atelierNews !== news) {
        window.atelierNews = news;
        window.dispatchEvent(new CustomEvent('atelier:dataset', { detail: { dataset } }));
    }
}"""
"""Tells the room once that captions were written."""


class CaptionBench:
    """Components in the place where it is made.

    Attributes:
        section: the accordion around them.
        load: fills the lists, with `load_outputs`; the last job that still runs is shown again.
    """

    def __init__(self, context: Context) -> None:
        self.context, self.workspace = context, context.workspace
        self.form = Form("caption", CaptionConfig, "caption.", omit=("dataset", "names", "dry_run"))
        self.press, self.room, self.marked, self.job = (
            gr.Textbox(visible=False),
            gr.Textbox(visible=False),
            gr.State([]),
            gr.State(""),
        )
        self.news = gr.Textbox(visible=False)
        self.timer = gr.Timer(SECONDS, active=False)
        with gr.Accordion(label("captions.title"), open=False, elem_id="caption-bench", elem_classes=["card"]) as self.section:
            self._layout()
        self._listen()

    def _layout(self) -> None:
        place = self.form.place
        gr.Markdown(label("captions.about"), elem_classes=["hint"])
        with gr.Row(elem_classes=["fields"]):
            place("tagger.kind")
            self.form.place_level("tagger.", "basic")
            place("write")
            place("trigger")
        with gr.Accordion(label("gen.advanced"), open=False, elem_id="caption-advanced"), gr.Row(elem_classes=["fields"]):
            self.form.place_level("tagger.", "advanced")
            self.form.place_level("tagger.", "expert")
            place("device")
        with gr.Row(elem_classes=["buttons"]):
            self.attempt = gr.Button(label("captions.try"), elem_id="caption-try", size="md")
            self.start = gr.Button(label("captions.start"), variant="primary", elem_id="caption-start", size="md")
            self.cancel = gr.Button(label("gen.stop"), elem_id="caption-cancel", visible=False, size="md")
        self.trouble = gr.HTML(elem_id="caption-trouble", visible=False)
        self.report = gr.HTML(elem_id="caption-report")

    def _listen(self) -> None:
        form = self.form
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        kind = form.components["tagger.kind"]
        kind.change(form.seen, form.inputs, form.inputs, **quiet)
        self.looks: list[Any] = [self.job, self.timer, self.report, self.cancel, self.news]
        given, shown = [self.press, self.room, self.marked, *form.inputs], [self.trouble, self.marked, *self.looks, *form.inputs]
        self.attempt.click(self._try, given, shown, js=GIVEN.format(button="try"), **quiet)
        self.start.click(self._start, given, shown, js=GIVEN.format(button="start"), **quiet)
        self.timer.tick(self._look, self.job, self.looks, **quiet).then(None, self.news, None, js=NEWS, **quiet)
        self.cancel.click(self._cancel, self.job, self.looks, **quiet)
        self.models = [key for key in form.components if form.fields[key].ui.widget == "tagger"]
        self.load_outputs: list[Any] = [*(form.components[key] for key in self.models), *self.looks]

    def load(self, request: gr.Request) -> list[Any]:
        """The page opens."""
        names = tagger_names(self.workspace)
        lists = [gr.update(choices=names.get(key.rpartition("@")[2], [])) for key in self.models]
        last = next(iter(self.context.jobs.list(limit=1, kinds=("tag", "caption"), states=("queued", *WORKING))), None)
        return [*lists, *(self._shown(last, self.context.language(request)) if last else [gr.skip()] * len(self.looks))]

    def suggest(self, dataset: str) -> Any:
        """A dataset is opened: its trigger word stands in the form."""
        with reported([]):
            told = read_dataset_file(self.workspace.dataset_folder(dataset))
            return told.trigger if told else ""
        return gr.skip()

    def _try(self, request: gr.Request, press: str, room: str, marked: list[str], *values: Any) -> list[Any]:
        """Look at the first of the selected pictures, or of all, and write nothing."""
        told = json.loads(room)
        names = told["names"] or self._all(told["dataset"])
        return self._ask(request, press, marked, values, told["dataset"], names[:TRIED], dry_run=True)

    def _start(self, request: gr.Request, press: str, room: str, marked: list[str], *values: Any) -> list[Any]:
        """Write captions for the selected pictures, or for all."""
        told = json.loads(room)
        return self._ask(request, press, marked, values, told["dataset"], told["names"], dry_run=False)

    def _all(self, dataset: str) -> list[str]:
        with reported([]):
            album = open_album(self.workspace.dataset_folder(dataset), self.workspace)
            album.read(FIRST_SECONDS)
            return album.find(Query())
        return []

    def _ask(
        self, request: gr.Request, press: str, marked: list[str], values: Sequence[Any], dataset: str, names: list[str], dry_run: bool
    ) -> list[Any]:  # fmt: skip
        """The job stands in the queue, or every problem stands at its field."""
        language = self.context.language(request)
        checked = self.form.check(values, language, {"dataset": dataset, "names": names, "dry_run": dry_run})
        problems, errors, job = dict(checked.problems), [], None
        if not dataset:
            problems[None] = t("text.caption.no_dataset", language)
        elif checked.config:
            with reported(errors):
                self.context.check_owner(request)
                job = actions.start_captioning(checked.config, self.workspace, press or None)
                self._ensure(job)
        for error in errors:
            problems |= self.form.problem_of(error, language)
        trouble = ""
        if problems:
            trouble = problem(errors[0], language) if errors else plain_problem(self.form.headline(problems, language))
        looks = self._shown(job, language) if job else [gr.skip()] * len(self.looks)
        marks = [key for key in problems if key]
        return [gr.update(value=trouble, visible=bool(trouble)), marks, *looks, *self.form.mark(problems, marked, language)]

    def _look(self, request: gr.Request, id: str) -> list[Any]:
        try:
            return self._shown(self.context.jobs.get(id), self.context.language(request))
        except EngineError:
            return ["", gr.Timer(active=False), "", gr.update(visible=False), ""]

    def _cancel(self, request: gr.Request, id: str) -> list[Any]:
        with reported([]):
            self.context.check_owner(request)
            actions.cancel(self.context.jobs.get(id), self.workspace)
        return self._look(request, id)

    def _ensure(self, job: Job) -> None:
        if job.kind == "tag":
            self.context.ensure_files()
        else:
            self.context.ensure_worker()

    def _shown(self, job: Job, language: str) -> list[Any]:
        working = job.state in ("queued", *WORKING)
        if working:
            self._ensure(job)  # also finds out when the worker has died with the job
        wrote = not working and not job.config["dry_run"]
        news = json.dumps([job.config["dataset"], job.id]) if wrote else ""
        return [job.id, gr.Timer(active=working), job_html(job, language), gr.update(visible=working), news]
