"""The page: its tabs in order, and what one tab does to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from webui.context import Context
from webui.i18n import label
from webui.tabs import dataset, generate, library, lora, runs, settings
from webui.widgets.runs import RunReader

CACHE_SECONDS = (3600, 86400)
"""How often Gradio's cache is swept, and the age at which a file goes."""
GRID_IN_SIGHT = "() => setTimeout(() => document.querySelector('#generate-grid')?.scrollIntoView({ behavior: 'smooth' }), 300)"


def build(context: Context) -> gr.Blocks:
    """The whole page. Nothing in it computes; jobs do."""
    reader = RunReader(context.workspace)
    with gr.Blocks(title="LoRA Atelier", analytics_enabled=False, delete_cache=CACHE_SECONDS, fill_width=True) as page:
        with gr.Row(elem_id="masthead"):
            gr.Markdown(label("app.title"), elem_id="brand")
            gr.Markdown(label("app.tagline"), elem_id="tagline")
        with gr.Tabs(elem_id="tabs", selected="lora") as tabs:
            with gr.Tab(label("tab.dataset"), id="dataset"):
                room = dataset.build(context)
            with gr.Tab(label("tab.lora"), id="lora") as lora_tab:
                train = lora.build(context, reader)
            with gr.Tab(label("tab.generate"), id="generate") as generate_tab:
                pictures = generate.build(context)
            with gr.Tab(label("tab.runs"), id="runs") as runs_tab:
                history = runs.build(context, reader)
            with gr.Tab(label("tab.library"), id="library") as library_tab:
                shelf = library.build(context)
            with gr.Tab(label("tab.settings"), id="settings") as settings_tab:
                choices = settings.build(context)
        _connect(
            page, tabs, (lora_tab, generate_tab, runs_tab, library_tab, settings_tab), (train, pictures, history, shelf, choices)
        )
        _connect_room(page, tabs, room, train)
    return page


def _connect(page: gr.Blocks, tabs: gr.Tabs, heads: tuple, parts: tuple) -> None:
    """What happens when the page opens, a tab is entered, or a run is tried."""
    train, pictures, history, shelf, choices = parts
    lora_tab, generate_tab, runs_tab, library_tab, settings_tab = heads
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    page.load(train.load, train.load_inputs, train.load_outputs, **quiet)
    page.load(pictures.load, None, pictures.load_outputs, **quiet)
    page.load(pictures.shelf.load, None, pictures.shelf.outputs, **quiet)
    grid = pictures.grid
    page.load(grid.panel.load, None, grid.panel.shown, **quiet)
    generate_tab.select(grid.form.refresh, grid.form.lists, grid.form.refresh_outputs, **quiet)
    lora_tab.select(train.load, train.load_inputs, train.load_outputs, **quiet)
    for refresh in (
        (pictures.refresh, pictures.refresh_inputs, pictures.refresh_outputs),
        (pictures.shelf.refresh, pictures.shelf.inputs, pictures.shelf.outputs),
    ):
        generate_tab.select(*refresh, **quiet)
        train.panel.ticked.then(*refresh, **quiet)  # after it, so that the look that sees the end also finds the new file
    runs_tab.select(history.refresh, history.refresh_inputs, history.refresh_outputs, **quiet)
    library_tab.select(shelf.refresh, shelf.refresh_inputs, shelf.refresh_outputs, **quiet)
    settings_tab.select(choices.fill, None, choices.fill_outputs, **quiet)
    saved = pictures.history
    saved.to_train.click(saved.add_to_dataset, saved.chosen, [saved.notice, train.dataset], **quiet)

    def arrive(*fill: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
        """Fill Generate and go there."""
        return lambda what: [*(update for each in fill for update in each(what)), gr.Tabs(selected="generate")]

    shelf.try_it.click(arrive(shelf.try_adapter), shelf.chosen, [*pictures.try_outputs, tabs], **quiet)
    for panel in (train.panel, history.panel):
        panel.try_it.click(arrive(pictures.try_run), panel.job, [*pictures.try_outputs, tabs], **quiet)
        panel.compare.click(
            arrive(pictures.try_run, grid.fill), panel.job, [*pictures.try_outputs, *grid.fill_outputs, tabs], **quiet
        ).then(None, None, None, js=GRID_IN_SIGHT, **quiet)


def _connect_room(page: gr.Blocks, tabs: gr.Tabs, dataset_tab: dataset.DatasetTab, train: lora.LoraTab) -> None:
    """What the room of a dataset asks of the page: its captions, and to be trained on."""
    room, captions = dataset_tab.room, dataset_tab.captions
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    page.load(captions.load, None, captions.load_outputs, **quiet)

    def told(event: gr.EventData, *values: Any) -> list[Any]:
        verb, opened = event._data["verb"], str(event._data.get("dataset") or "")
        if verb == "train":
            return [gr.Tabs(selected="lora"), gr.skip(), gr.skip(), *train.fill(opened, *values)]
        bench = gr.Accordion(open=True) if verb == "caption" else gr.skip()
        trigger = captions.suggest(opened) if verb == "opened" else gr.skip()
        return [gr.skip(), bench, trigger, *[gr.skip()] * len(train.fill_outputs)]

    outputs = [tabs, captions.section, captions.form.components["trigger"], *train.fill_outputs]
    room.select(told, train.fill_inputs, outputs, **quiet)
