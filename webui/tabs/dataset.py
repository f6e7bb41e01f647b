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
const place = element.querySelector('#dataset-room'), script = new URL('atelier/datasets/assets/app.js', document.baseURI).href;
import(script).then((room) => room.mount(place, tell)).catch(async (error) => {
    console.warn(error);
    const told = await fetch(script).then((reply) => reply.json()).catch(() => ({}));
    place.textContent = [told.message, told.todo].filter(Boolean).join(' ');
});
"""
"""The room is loaded when the tab is first opened. Who may not enter, such as a guest, is told so in its place."""


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
