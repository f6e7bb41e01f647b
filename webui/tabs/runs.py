"""The Runs tab: every training run and every use of a tool, the newest first; the chosen one in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine.jobs.job import Job
from webui.context import Context
from webui.i18n import label, t
from webui.widgets.html import tag, text
from webui.widgets.notices import empty
from webui.widgets.run_panel import RunPanel
from webui.widgets.run_view import bar, state_badge, when
from webui.widgets.runs import RunReader
from webui.widgets.tool_report import job_html, tool_name

MOST = 200
CHOOSE = """
element.addEventListener('click', (event) => {
    const row = event.target.closest('[data-run]');
    if (row) trigger('select', { run: row.dataset.run });
});
"""


@dataclass
class RunsTab:
    """What the page connects."""

    panel: RunPanel
    refresh: Any
    refresh_inputs: list[Any]
    refresh_outputs: list[Any]


def build(context: Context, reader: RunReader) -> RunsTab:
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    with gr.Row(elem_classes=["work"], equal_height=False):
        with gr.Column(scale=4, min_width=300):
            listing = gr.HTML(elem_id="runs-list", js_on_load=CHOOSE)
            again = gr.Button(label("runs.refresh"), elem_id="runs-refresh", size="sm")
        with gr.Column(scale=8, min_width=320):
            panel = RunPanel(context, reader, "runs")
            with gr.Column(visible=False, elem_classes=["card"]) as card:
                tool = gr.HTML(elem_id="runs-tool")
    chosen = gr.State("")

    def refresh(request: gr.Request, id: str, seen: dict) -> list[Any]:
        language = context.language(request)
        return [id, list_html(context, id, language), *_tool(context, id, language), *panel.render(id, seen, language)]

    def choose(request: gr.Request, event: gr.EventData) -> list[Any]:
        return refresh(request, str(event._data.get("run", "")), {})

    outputs = [chosen, listing, card, tool, *panel.outputs]
    again.click(refresh, [chosen, panel.seen], outputs, **quiet)
    listing.select(choose, None, outputs, **quiet)
    return RunsTab(panel, refresh, [chosen, panel.seen], outputs)


def _tool(context: Context, id: str, language: str) -> list[Any]:
    """The chosen use of a tool; hidden while a run is chosen."""
    job = next((job for job in context.jobs.list(limit=MOST, kinds=("tool",)) if job.id == id), None)
    return [gr.update(visible=job is not None), job_html(job, language) if job else ""]


def list_html(context: Context, chosen: str, language: str) -> str:
    """Runs and tools as rows that can be chosen, and a line about the picture jobs."""
    runs = context.jobs.list(limit=MOST, kinds=("train", "tool"))
    if not runs:
        return empty(t("text.runs.empty_title", language), t("text.runs.empty", language))
    rows = "".join(_row(job, job.id == chosen, language) for job in runs)
    pictures = context.jobs.list(limit=MOST, kinds=("generate",))
    more = (
        text("p", t("text.runs.pictures", language, count=len(pictures), time=when(pictures[0])), class_="hint")
        if pictures
        else ""
    )
    hint = "" if chosen else text("p", t("text.runs.choose", language), class_="hint")
    return tag("div", rows, class_="rows") + hint + more


def _row(job: Job, chosen: bool, language: str) -> str:
    progress = job.progress or {}
    steps, step = progress.get("steps", 0), progress.get("step", 0)
    facts = [when(job)] + ([t("text.run.step", language, step=f"{step:,}", steps=f"{steps:,}")] if steps else [])
    facts += [tool_name(job, language)] if job.kind == "tool" else []
    inside = tag("span", text("strong", job.name) + state_badge(job, language), class_="name")
    inside += text("span", " · ".join(facts), class_="hint")
    if job.state in ("running", "pausing") and steps:
        inside += bar(step / steps)
    return tag(
        "button",
        inside,
        type="button",
        class_="run-row chosen" if chosen else "run-row",
        data_run=job.id,
        aria_pressed=str(chosen).lower(),
    )
