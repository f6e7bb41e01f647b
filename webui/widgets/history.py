"""The saved pictures: small copies to choose from, a search over their prompts, and what can be done with the one that is chosen.

Everything is read from the folder of outputs each time, so that a reload or a second tab shows the same. Originals are served by
their path, as they were written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from engine import outputs
from engine.errors import EngineError
from webui.context import Context, reported
from webui.i18n import label, t
from webui.widgets.html import tag, text
from webui.widgets.notices import empty, problem
from webui.widgets.previews import preview, url

COUNT = 24
"""Pictures shown at once."""
SIDE = 256
"""Longest side of a small copy, px."""
CHOOSE = """
element.addEventListener('click', (event) => {
    const button = event.target.closest('[data-name]');
    if (button) trigger('select', { name: button.dataset.name });
});
"""
DATASET = "generated"
"""The dataset that pictures are sent to for training."""


class History:
    """Components in the place where it is made.

    Attributes:
        chosen: state with the name of the picture that is chosen, "" for none.
        load, load_inputs, load_outputs: show what there is now.
        use, to_source, to_grid, to_train: buttons beside the chosen picture, for the page to connect.
    """

    def __init__(self, context: Context) -> None:
        self.context, self.workspace = context, context.workspace
        self.chosen, self.start, self.trashed = gr.State(""), gr.State(0), gr.State("")
        with gr.Column(elem_classes=["card"], elem_id="history"):
            self.words = gr.Textbox(
                label=label("history.search"), placeholder=label("history.example"), max_lines=1, elem_id="history-search"
            )
            self.grid = gr.HTML(elem_id="history-grid", js_on_load=CHOOSE)
            with gr.Row(elem_classes=["buttons"]):
                self.newer = gr.Button(label("history.newer"), size="sm", elem_id="history-newer", interactive=False)
                self.older = gr.Button(label("history.older"), size="sm", elem_id="history-older", interactive=False)
            self.notice = gr.HTML(elem_id="history-notice", visible=False)
            self.undo = gr.Button(label("history.undo"), size="sm", elem_id="history-undo", visible=False)
            with gr.Column(visible=False, elem_id="history-detail") as self.detail:
                self.picture = gr.HTML(elem_id="history-picture")
                with gr.Row(elem_classes=["buttons"]):
                    self.use = gr.Button(label("history.use"), variant="primary", size="md", elem_id="history-use")
                    self.to_source = gr.Button(label("history.to_source"), size="md", elem_id="history-to-source")
                    self.to_grid = gr.Button(label("history.to_grid"), size="md", elem_id="history-to-grid")
                    self.to_train = gr.Button(label("history.to_train"), size="md", elem_id="history-to-train")
                    self.delete = gr.Button(label("history.delete"), size="md", elem_id="history-delete")
                self.parameters = gr.Textbox(
                    label=label("gen.parameters"), lines=4, max_lines=12, interactive=False, buttons=["copy"],
                    elem_id="history-parameters",
                )  # fmt: skip
        self.load_inputs: list[Any] = [self.words, self.start]
        self.load_outputs: list[Any] = [self.start, self.grid, self.newer, self.older]
        self._listen()

    def _listen(self) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        shown = [self.chosen, self.detail, self.picture, self.parameters, self.notice, self.trashed, self.undo]
        # A search begins with the newest again.
        self.words.change(self._search, self.words, self.load_outputs, trigger_mode="always_last", **quiet)
        for button, step in ((self.newer, -COUNT), (self.older, COUNT)):
            button.click(self._turn(step), self.load_inputs, self.load_outputs, **quiet)
        self.grid.select(self._choose, None, shown, **quiet)
        self.delete.click(self._delete, [self.chosen, *self.load_inputs], [*shown, *self.load_outputs], **quiet)
        self.undo.click(self._restore, [self.trashed, *self.load_inputs], [*shown, *self.load_outputs], **quiet)

    def file(self, name: str) -> Path | None:
        """The file of a picture by its name, if it is there."""
        try:
            return outputs.find(self.workspace, name)
        except EngineError:
            return None

    def load(self, request: gr.Request, words: str, start: int) -> list[Any]:
        """The pictures there are now."""
        page = outputs.pictures(self.workspace, words or "", start, COUNT)
        if start and not page.names:  # there are fewer than there were
            start = max(0, (page.total - 1) // COUNT * COUNT)
            page = outputs.pictures(self.workspace, words or "", start, COUNT)
        html = self._grid(page, start, bool((words or "").strip()), self.context.language(request))
        return [start, html, gr.update(interactive=start > 0), gr.update(interactive=start + COUNT < page.total)]

    def add_to_dataset(self, request: gr.Request, name: str) -> list[Any]:
        """Copy a picture into the dataset of generated ones: updates of the notice and of the field that names a dataset."""
        problems: list[EngineError] = []
        with reported(problems):
            self.context.check_owner(request)
            outputs.add_to_dataset(self.workspace, name, DATASET)
        language = self.context.language(request)
        if problems:
            return [gr.update(value=problem(problems[0], language), visible=True), gr.skip()]
        told = text("p", t("text.history.added", language, dataset=DATASET), class_="hint", role="status")
        return [gr.update(value=told, visible=True), DATASET]

    def _search(self, request: gr.Request, words: str) -> list[Any]:
        return self.load(request, words, 0)

    def _turn(self, step: int) -> Callable[..., list[Any]]:
        def turn(request: gr.Request, words: str, start: int) -> list[Any]:
            return self.load(request, words, max(0, start + step))

        return turn

    def _grid(self, page: outputs.Page, start: int, searched: bool, language: str) -> str:
        if not page.names:
            key = "text.history.none_found" if searched else "text.history.empty"
            return empty(t(f"{key}_title", language), t(key, language))
        count = t("text.history.count", language, first=start + 1, last=start + len(page.names), total=page.total)
        tiles = "".join(self._tile(name) for name in page.names)
        return text("p", count, class_="hint") + tag("div", tiles, class_="shots")

    def _tile(self, name: str) -> str:
        file = self.workspace.outputs / name
        small = preview(self.workspace, file, SIDE)
        inside = tag("img", src=url(small), alt=name, loading="lazy") if small else text("span", name)
        return tag("button", inside, type="button", data_name=name, title=name)

    def _choose(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        return self._show(request, str(event._data.get("name", "")))

    def _show(self, request: gr.Request, name: str) -> list[Any]:
        problems: list[EngineError] = []
        words, file = "", Path()
        with reported(problems):
            file = outputs.find(self.workspace, name)
            words = outputs.infotext(self.workspace, name)
        if problems:
            return self._refused(request, problems)
        image = tag("img", src=url(file), alt=name)
        large = tag("a", image, href=url(file), target="_blank", rel="noopener") + text("p", name, class_="hint path")
        return [name, gr.update(visible=True), large, words, *self._said("")]

    def _said(self, notice: str, trashed: str = "") -> list[Any]:
        return [gr.update(value=notice, visible=bool(notice)), trashed, gr.update(visible=bool(trashed))]

    def _delete(self, request: gr.Request, name: str, words: str, start: int) -> list[Any]:
        language = self.context.language(request)
        problems: list[EngineError] = []
        with reported(problems):
            self.context.check_owner(request)
            trashed = outputs.trash(self.workspace, name)
            told = text("p", t("text.history.deleted", language, name=name), class_="hint", role="status")
            shown = ["", gr.update(visible=False), "", "", *self._said(told, trashed)]
        return [*(self._refused(request, problems) if problems else shown), *self.load(request, words, start)]

    def _restore(self, request: gr.Request, trashed: str, words: str, start: int) -> list[Any]:
        problems: list[EngineError] = []
        with reported(problems):
            self.context.check_owner(request)
            shown = self._show(request, outputs.restore(self.workspace, trashed))
        return [*(self._refused(request, problems) if problems else shown), *self.load(request, words, start)]

    def _refused(self, request: gr.Request, problems: list[EngineError]) -> list[Any]:
        """Updates that say what is wrong and leave what is shown."""
        return [*[gr.skip()] * 4, *self._said(problem(problems[0], self.context.language(request)))]
