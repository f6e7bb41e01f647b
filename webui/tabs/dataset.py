"""The Dataset tab: the room of a dataset, which lives in the browser, automatic captions, and the way on to training."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from webui.context import Context
from webui.widgets.caption_bench import CaptionBench

ROOM = """
const tell = (verb, detail) => {
    trigger('select', { verb, ...detail });
    if (verb === 'caption') setTimeout(() => document.querySelector('#caption-bench')?.scrollIntoView({ behavior: 'smooth' }), 300);
};
import(new URL('atelier/datasets/assets/app.js', document.baseURI))
    .then((room) => room.mount(element.querySelector('#dataset-room'), tell));
"""
"""The room is loaded when the tab is first opened."""


@dataclass
class DatasetTab:
    """What the page connects.

    Attributes:
        room: tells by its `select` event `{verb, dataset}`: "opened", "caption" or "train".
        captions: the bench for automatic captions.
    """

    room: gr.HTML
    captions: CaptionBench


def build(context: Context) -> DatasetTab:
    room = gr.HTML(
        '<div id="dataset-room"></div>', elem_id="dataset-host", js_on_load=ROOM, padding=False, apply_default_css=False
    )
    return DatasetTab(room, CaptionBench(context))
