"""A grid as it grows: progress, the table of pictures, the one that is looked at with all its parameters, and the shortlist.

The grid lives in its folder; the worker adds to it. This only reads, so a reload or a second tab shows the same.
"""

from __future__ import annotations

import hashlib
from typing import Any

import gradio as gr

from engine.errors import EngineError, PathError
from engine.grid.outcome import keep_version
from engine.grid.record import GridRecord, read_record
from engine.grid.suggest import suggest
from engine.grid.tags import call
from engine.grid.versions import read_run
from engine.jobs.generating import ResultPicture
from engine.jobs.job import Job
from engine.workspace import safe_join
from webui.context import Context, reported
from webui.i18n import label, t
from webui.widgets.grid_view import Small, find_cell, grid_html
from webui.widgets.html import esc, tag, text
from webui.widgets.notices import empty, problem
from webui.widgets.picture_report import report_html
from webui.widgets.previews import url
from webui.widgets.result_panel import UNENDED
from webui.widgets.run_view import bar
from webui.widgets.shortlist_view import shortlist_html, strength_words
from webui.widgets.words import duration

SECONDS = 0.5
"""Between two looks at a grid."""
COPY_SECONDS = 0.4
"""For making small copies, with each look."""
CHOOSE = """
element.addEventListener('click', (event) => {
    const button = event.target.closest('[data-cell], [data-use]');
    if (button) trigger('select', { cell: button.dataset.cell ?? '', use: button.dataset.use ?? '' });
});
"""
IN_SIGHT = "() => requestAnimationFrame(() => document.querySelector('#grid-detail')?.scrollIntoView({ block: 'nearest', behavior: 'smooth' }))"


class GridPanel:
    """Components in the place where `place` is called.

    Attributes:
        shown: what `show` and `look` return updates for.
        chosen: state with the name below the outputs of the picture that is looked at, "" for none.
        use: button that puts its settings into the form, for the page to connect.
    """

    def __init__(self, context: Context) -> None:
        self.context, self.workspace, self.jobs = context, context.workspace, context.jobs

    def place(self) -> None:
        """Make the components where the layout now stands."""
        self.job, self.seen, self.cell, self.chosen = gr.State(""), gr.State(""), gr.State(""), gr.State("")
        self.timer = gr.Timer(SECONDS, active=False)
        with gr.Row(elem_classes=["grid-head"]):
            self.status = gr.HTML(elem_id="grid-status")
            self.stop = gr.Button(label("gen.stop"), size="md", elem_id="grid-stop", visible=False, scale=0, min_width=90)
        self.view = gr.HTML(elem_id="grid-view", js_on_load=CHOOSE)
        with gr.Column(visible=False, elem_id="grid-detail") as self.detail:
            self.picture = gr.HTML(elem_id="grid-picture")
            with gr.Row(elem_classes=["buttons"]):
                self.use = gr.Button(label("history.use"), variant="primary", size="md", elem_id="grid-use")
                self.close = gr.Button(label("gen.grid_close"), size="md", elem_id="grid-close")
            self.parameters = gr.Textbox(
                label=label("gen.parameters"),
                lines=4,
                max_lines=12,
                interactive=False,
                buttons=["copy"],
                elem_id="grid-parameters",
            )
        self.notice = gr.HTML(elem_id="grid-notice", visible=False)
        self.shortlist = gr.HTML(elem_id="grid-shortlist", js_on_load=CHOOSE)
        self.shown: list[Any] = [self.job, self.seen, self.timer, self.status, self.stop, self.view, self.shortlist, self.notice]
        self.details: list[Any] = [self.cell, self.chosen, self.detail, self.picture, self.use, self.parameters]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        self.timer.tick(self._tick, [self.job, self.seen, self.cell], self.shown, **quiet)
        self.view.select(self._choose, self.job, [*self.shown, *self.details], **quiet).then(
            None, None, None, js=IN_SIGHT, **quiet
        )
        self.close.click(self._close, self.job, [*self.shown, *self.details], **quiet)

    # ---- the grid ----

    def load(self, request: gr.Request) -> list[Any]:
        """The page opens: updates of `shown` for the grid that was asked for last."""
        language = self.context.language(request)
        last = next(iter(self.jobs.list(limit=1, kinds=("grid",))), None)
        return self.show(last, language) if last else self._nothing(language)

    def look(self, id: str, language: str, seen: str = "", cell: str = "") -> list[Any]:
        try:
            return self.show(self.jobs.get(id), language, seen, cell)
        except EngineError:
            return self._nothing(language)

    def _tick(self, request: gr.Request, id: str, seen: str, cell: str) -> list[Any]:
        return self.look(id, self.context.language(request), seen, cell)

    def _nothing(self, language: str) -> list[Any]:
        words = empty(t("text.grid.empty_title", language), t("text.grid.empty", language))
        return ["", "", gr.Timer(active=False), words, gr.update(visible=False), "", "", gr.update(visible=False)]

    def show(self, job: Job, language: str, seen: str = "", cell: str = "") -> list[Any]:
        """Updates of `shown`; pictures that stand there already, by `seen`, are left alone."""
        working = job.state in UNENDED
        if working:
            self.context.ensure_worker()  # also finds out when the worker has died with the job
        record, small = self.record(job), Small(self.workspace, COPY_SECONDS)
        view = grid_html(record, small, working, cell, language) if record else ""
        listed = shortlist_html(record.scores, record.lines, language) if record else ""
        now = hashlib.sha1((view + listed).encode()).hexdigest()
        drawn = [gr.skip()] * 2 if now == seen else [view, listed]
        status = _waiting(job, self.workspace.root, language) if working else _ended(job, record, language)
        return [
            job.id,
            now,
            gr.Timer(active=working or not small.whole),
            status,
            gr.update(visible=working),
            *drawn,
            gr.update(visible=False),
        ]

    def record(self, job: Job) -> GridRecord | None:
        """What a grid has become so far; None before its first look at the queue, and where its folder has gone."""
        folder = (job.result or {}).get("folder") or (job.progress or {}).get("folder")
        try:
            return read_record(safe_join(self.workspace.root, str(folder))) if folder else None
        except PathError:
            return None

    # ---- one picture ----

    def _choose(self, request: gr.Request, event: gr.EventData, id: str) -> list[Any]:
        key, language = str(event._data.get("cell", "")), self.context.language(request)
        record = self._record_of(id)
        found = find_cell(record, key) if record else None
        if found is None:
            return self._close(request, id)
        cell, picture = found
        told = problem(EngineError.from_dict(cell.error), language) if cell.error else ""
        return [*self.look(id, language, "", key), key, *self._detail(picture, told, language)]

    def _detail(self, picture: ResultPicture | None, told: str, language: str) -> list[Any]:
        """Updates of `details` but the first: the picture and all that is to know of it."""
        shown = gr.update(visible=True)
        if picture is None:
            return ["", shown, told, gr.update(visible=False), gr.update(visible=False)]
        name = picture.file.relative_to(self.workspace.outputs).as_posix()
        image = tag("img", src=url(picture.file), alt=name)
        large = tag("a", image, href=url(picture.file), target="_blank", rel="noopener")
        html = large + told + report_html([picture], self.workspace, language)
        return [name, shown, html, gr.update(visible=True), gr.update(value=picture.infotext, visible=True)]

    def _close(self, request: gr.Request, id: str) -> list[Any]:
        language = self.context.language(request)
        return [*self.look(id, language), "", "", gr.update(visible=False), "", gr.skip(), ""]

    def _record_of(self, id: str) -> GridRecord | None:
        try:
            return self.record(self.jobs.get(id))
        except EngineError:
            return None

    # ---- the suggestion ----

    def use_best(self, request: gr.Request, id: str, prompt: str) -> list[Any]:
        """Updates of a prompt, which shall call what is suggested, and of `notice`."""
        language = self.context.language(request)
        problems: list[EngineError] = []
        with reported(problems):
            job = self.jobs.get(id)
            record, run = self.record(job), read_run(str(job.config.get("run", "")), self.workspace)
            found = suggest(record.scores.groups) if record and record.scores else None
            version = next((each for each in run.versions if found and each.file.stem == found.best.name), None)
            if record and found and version:
                if not version.shared:
                    self.context.check_owner(request)
                name = keep_version(version, record.scores.groups if record.scores else (), self.workspace)
                names = {name, run.name, *(each.file.stem for each in run.versions)}
                strength = strength_words(found.best)
                written = call(prompt or record.prompts[0], names, name, strength)
                told = text(
                    "p", t("text.grid.used", language, tag=f"<lora:{name}:{strength}>"), class_="note note-good", role="status"
                )
                return [written, gr.update(value=told, visible=True)]
        told = problem(problems[0], language) if problems else ""
        return [gr.skip(), gr.update(value=told, visible=bool(told))]


def _waiting(job: Job, root: Any, language: str) -> str:
    progress = job.progress or {}
    done, total, left = progress.get("done", 0), progress.get("total", 0), progress.get("seconds_left")
    if job.state == "queued":
        words = t("text.gen.queued", language)
    elif progress.get("phase") == "scoring":
        words = t("text.grid.scoring", language, done=done, total=total)
    elif total and left is not None and left >= 1:
        words = t("text.grid.progress_left", language, done=done, total=total, left=duration(left, language))
    elif total:
        words = t("text.grid.progress", language, done=done, total=total)
    else:
        words = t("text.gen.waiting", language)
    line = text("p", words, class_="status", role="status") + bar(done / total if total else 0)
    if "preview" not in progress or progress.get("phase") == "scoring":
        return line
    source = f"{url(root / progress['preview'])}?{progress['shown']}"
    image = tag("img", src=source, alt=t("text.gen.preview", language))
    return tag("div", tag("div", line) + image, class_="grid-way")


def _ended(job: Job, record: GridRecord | None, language: str) -> str:
    """What is said of a grid that has ended, and its sheet."""
    made = len(record.made) if record else 0
    words = t("text.grid.done", language, made=made, total=record.total if record else 0)
    if job.state == "done" and job.started and job.finished:
        words += " · " + duration(job.finished - job.started, language)
    elif job.state != "done":
        words = t(
            "text.grid.stopped" if made else f"text.state.{job.state}", language, made=made, total=record.total if record else 0
        )
    link = ""
    if record and record.sheet:
        address = url(record.sheet)
        link = tag("a", esc(t("text.grid.sheet", language)), href=address, target="_blank", rel="noopener", class_="sheet")
        link += tag(
            "a", esc(t("text.grid.download", language)), href=address, download=f"{record.folder.name}.png", class_="sheet"
        )
    told = problem(EngineError.from_dict(job.error), language) if job.error and job.state != "cancelled" else ""
    return told + tag("p", text("span", words) + link, class_="status", role="status")
