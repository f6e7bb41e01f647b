"""The box that takes an id or an address, and the downloads that are under way.

They are jobs: this only reads their rows, so that a reload or a second tab shows the same.
"""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from engine.config.downloads import DownloadConfig
from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.job import WORKING, Job
from webui.context import Context, reported
from webui.forms import PRESS
from webui.i18n import label
from webui.widgets.download_view import downloads_html
from webui.widgets.notices import problem

SECONDS = 1.0
"""Between two looks."""
SHOWN_SECONDS = 24 * 3600
"""So long the last one that ended is shown."""
BUTTONS = """
element.addEventListener('click', (event) => {
    const button = event.target.closest('[data-verb]');
    if (button) trigger('select', { verb: button.dataset.verb, job: button.dataset.job });
});
"""


class DownloadBox:
    """Components in the place where it is made.

    Attributes:
        load: function that shows the downloads, with `load_outputs`.
        ticked: each look at downloads under way, for what shall follow one that is done.
        arrived: state with the id of the newest download that is done.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.press, self.arrived, self.timer = gr.Textbox(visible=False), gr.State(""), gr.Timer(SECONDS, active=False)
        with gr.Column(elem_classes=["card"], elem_id="download-box"):
            gr.Markdown(label("lib.get"), elem_classes=["section"])
            self.source = gr.Textbox(
                label=label("lib.source"), info=label("lib.source_help"), placeholder=label("lib.source_example"), lines=1, max_lines=1,
                elem_id="download-source",
            )  # fmt: skip
            self.start = gr.Button(label("lib.download"), variant="primary", elem_id="download-start", size="md")
            self.trouble = gr.HTML(elem_id="download-trouble", visible=False)
            self.view = gr.HTML(elem_id="download-view", js_on_load=BUTTONS)
        self.load_outputs: list[Any] = [self.view, self.timer, self.arrived]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        given, shown = [self.press, self.source], [self.trouble, self.source, *self.load_outputs]
        gr.on([self.start.click, self.source.submit], self._start, given, shown, js=PRESS, **quiet)
        self.view.select(self._press, None, [self.trouble, *self.load_outputs], **quiet)
        self.ticked = self.timer.tick(self.load, None, self.load_outputs, **quiet)

    def load(self, request: gr.Request) -> list[Any]:
        """The downloads under way, and the last one that ended today."""
        jobs = self.context.jobs.list(limit=20, kinds=("download",))
        live = [job for job in jobs if job.state in ("queued", *WORKING)]
        ended = [job for job in jobs if job not in live and time.time() - (job.finished or 0) < SHOWN_SECONDS][:1]
        if live:
            with reported([]):
                self.context.ensure_downloader()  # also finds out when it has died
        return [downloads_html([*live, *ended], self.context.language(request)), gr.Timer(active=bool(live)), _newest_done(jobs)]

    def _start(self, request: gr.Request, press: str, source: str) -> list[Any]:
        problems: list[EngineError] = []
        with reported(problems):
            self.context.check_owner(request)
            # one press is one download, but another source typed meanwhile is another one
            once = f"{press} {source}" if press else None
            actions.start_download(DownloadConfig(source=source or ""), self.context.workspace, once)
            self.context.ensure_downloader()
        return [self._told(request, problems), gr.skip() if problems else "", *self.load(request)]

    def _press(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """A button beside a download: stop it, or start what it was anew, which goes on where it ended."""
        problems: list[EngineError] = []
        with reported(problems):
            self.context.check_owner(request)
            job = self.context.jobs.get(str(event._data.get("job", "")))
            if event._data.get("verb") == "stop":
                actions.cancel(job, self.context.workspace)
            else:
                actions.start_download(DownloadConfig(source=job.config["source"]), self.context.workspace)
                self.context.ensure_downloader()
        return [self._told(request, problems), *self.load(request)]

    def _told(self, request: gr.Request, problems: list[EngineError]) -> Any:
        html = problem(problems[0], self.context.language(request)) if problems else ""
        return gr.update(value=html, visible=bool(html))


def _newest_done(jobs: list[Job]) -> str:
    return max((job.id for job in jobs if job.state == "done"), default="")
