"""The grid in Generate: its form beside the settings, its result beside the pictures, and what one does to the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from engine.config.generate import GenerateConfig
from engine.errors import EngineError
from engine.jobs import actions
from webui.context import Context, reported
from webui.forms import PRESS, Form
from webui.widgets.grid_form import GridForm
from webui.widgets.grid_panel import GridPanel
from webui.widgets.recall_box import RecallBox


class GridBench:
    """`listen` is called when form and panel are placed.

    Attributes:
        form, panel: its two parts.
        used: what is suggested was taken, maybe into the LoRA folder.
        fill_outputs: of `fill`.
    """

    def __init__(self, context: Context, request: Form[GenerateConfig]) -> None:
        self.context, self.form, self.panel = context, GridForm(context, request), GridPanel(context)

    def listen(
        self, under: Sequence[Any], read: Callable[..., Mapping[str, Any]], press: Any, results: gr.Tabs, recall: RecallBox
    ) -> None:
        """Connect everything.

        Args:
            under: components with what the page sets of the request.
            read: what they hold -> settings of the request.
            press: component for the id of a press.
            results: the tabs of which "grid" holds the panel.
        """
        form, panel, self.read = self.form, self.panel, read
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        form.listen(under, read, quiet)
        started = [form.marked, form.line, *form.form.inputs, results, *panel.shown]
        form.go.click(self._start, [press, form.marked, *under, *form.inputs], started, js=PRESS, **quiet)
        panel.stop.click(self._stop, panel.job, panel.shown, **quiet)
        panel.use.click(recall.from_saved, [panel.chosen, *recall.inputs], recall.outputs, **quiet)
        prompt = form.request.components["prompt"]
        self.used = panel.shortlist.select(panel.use_best, [panel.job, prompt], [prompt, panel.notice], **quiet)
        self.fill_outputs: list[Any] = [form.section, form.opened, *form.form.inputs]

    def _start(self, request: gr.Request, press: str, marked: list[str], *given: Any) -> list[Any]:
        """Queue the grid, or say at the field what is wrong."""
        language, under = self.context.language(request), len(given) - len(self.form.inputs)
        errors: list[EngineError] = []
        with reported(errors):
            asked = self.form.ask(self.read(*given[:under]), given[under:], language)
            if asked.config is None:
                return self._refused(self.form.told(asked, marked, language))
            job = actions.start_grid(asked.config, self.context.workspace, press or None)
            self.context.ensure_worker()
            told = [[], gr.skip(), *self.form.form.mark({}, marked, language)]
            return [*told, gr.Tabs(selected="grid"), *self.panel.show(job, language)]
        return self._refused(self.form.told(self.form.refused(errors[0], language), marked, language))

    def _refused(self, told: list[Any]) -> list[Any]:
        return [*told, gr.skip(), *[gr.skip()] * len(self.panel.shown)]

    def _stop(self, request: gr.Request, id: str) -> list[Any]:
        with contextlib.suppress(EngineError):
            actions.cancel(self.context.jobs.get(id), self.context.workspace)
        return self.panel.look(id, self.context.language(request))

    def fill(self, id: str) -> list[Any]:
        """The form opens, filled to compare the saved versions of a run."""
        try:
            return [gr.Accordion(open=True), True, *self.form.of_run(self.context.jobs.get(id))]
        except EngineError:
            return [gr.skip()] * len(self.fill_outputs)

    def open(self) -> list[Any]:
        """The form opens as it is: updates of the first two of `fill_outputs`."""
        return [gr.Accordion(open=True), True]
