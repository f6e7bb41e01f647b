"""The Library tab: what is at hand and where to put more, one adapter in full, and the tools for adapter files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine import library
from engine.formats.summary import describe
from webui.context import Context
from webui.i18n import label, t
from webui.widgets.adapter_cards import STRENGTH, gallery
from webui.widgets.adapter_detail import detail_html
from webui.widgets.adapter_pictures import thumbnails
from webui.widgets.download_box import DownloadBox
from webui.widgets.html import tag, text
from webui.widgets.model_list import models_html
from webui.widgets.notices import empty, plain_problem
from webui.widgets.tool_bench import ToolBench

CHOOSE = """
element.addEventListener('click', (event) => {
    const card = event.target.closest('[data-adapter]');
    if (card) trigger('select', { adapter: card.dataset.adapter });
});
"""
SHOWN_ADAPTERS = 60
"""The newest, so that a library of thousands is no slow page."""
LOOK_SECONDS = 0.7
"""For reading what is new; the rest follows with the next look."""
TO_DETAIL = "() => document.querySelector('#library-detail')?.scrollIntoView({ behavior: 'smooth', block: 'nearest' })"


@dataclass
class LibraryTab:
    """What the page connects. `chosen` holds the name of an adapter as a tag writes it."""

    refresh: Any
    refresh_inputs: list[Any]
    refresh_outputs: list[Any]
    chosen: Any
    try_it: Any
    try_adapter: Any


def build(context: Context) -> LibraryTab:
    return _Builder(context).tab()


class _Builder:
    def __init__(self, context: Context) -> None:
        self.context, self.workspace = context, context.workspace

    def tab(self) -> LibraryTab:
        self.chosen, self.seen = gr.State(""), gr.State("")
        with gr.Row(elem_classes=["work"], equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self.box = DownloadBox(self.context)
                self.view = gr.HTML(elem_id="library-view", js_on_load=CHOOSE)
                self.again = gr.Button(label("lib.refresh"), elem_id="library-refresh", size="sm")
            with gr.Column(scale=7, min_width=320):
                with gr.Column(visible=False, elem_id="library-detail-card", elem_classes=["card"]) as self.card:
                    self.detail = gr.HTML(elem_id="library-detail")
                    with gr.Row(elem_classes=["buttons"]):
                        self.try_it = gr.Button(label("run.try"), variant="primary", elem_id="library-try", size="md")
                with gr.Accordion(label("tools.title"), open=True, elem_id="library-tools"):
                    self.bench = ToolBench(self.context)
        self._listen()
        return LibraryTab(
            self._enter, [self.chosen, *self.bench.load_inputs], [*self.box.load_outputs, self.view, *self.bench.load_outputs],
            self.chosen, self.try_it, self._try_adapter,
        )  # fmt: skip

    def _listen(self) -> None:
        bench, quiet = self.bench, {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        again = (self._refresh, [self.chosen, *bench.load_inputs], [self.view, *bench.load_outputs])
        shown = [self.chosen, self.view, self.card, self.detail, bench.form.components["tool.file"]]
        scroll: dict[str, Any] = {"fn": None, "js": TO_DETAIL, "api_visibility": "private"}
        self.again.click(*again, **quiet)
        self.view.select(self._choose, None, shown, **quiet).then(**scroll)
        bench.ticked.then(self._new, [bench.shown, *again[1]], again[2], **quiet)
        self.box.ticked.then(self._arrived, [self.seen, self.box.arrived, *again[1]], [self.seen, *again[2]], **quiet)
        bench.show.click(self._show, bench.shown, shown, **quiet).then(**scroll)

    def _refresh(self, request: gr.Request, chosen: str, kind: str) -> list[Any]:
        return [library_html(self.context, self.context.language(request), chosen), *self.bench.load(request, kind)]

    def _enter(self, request: gr.Request, chosen: str, kind: str) -> list[Any]:
        """The tab is entered: downloads and lists."""
        return [*self.box.load(request), *self._refresh(request, chosen, kind)]

    def _arrived(self, request: gr.Request, seen: str, arrived: str, chosen: str, kind: str) -> list[Any]:
        """The lists once a download is done. `seen` is the newest one that they hold."""
        return [
            arrived,
            *(self._refresh(request, chosen, kind) if arrived != seen else [gr.skip()] * (1 + len(self.bench.load_outputs))),
        ]

    def _new(self, request: gr.Request, made: str, chosen: str, kind: str) -> list[Any]:
        """The lists once a tool has written a file."""
        return self._refresh(request, chosen, kind) if made else [gr.skip()] * (1 + len(self.bench.load_outputs))

    def _choose(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        return self._show(request, str(event._data.get("adapter", "")))

    def _show(self, request: gr.Request, name: str) -> list[Any]:
        """An adapter in full; the tools take it for their file."""
        language = self.context.language(request)
        found = library.adapter_names(self.workspace).get(name)
        html = detail_html(name, found[0], language) if found else plain_problem(t("text.detail.gone", language, name=name))
        listing = library_html(self.context, language, name)
        return [name if found else "", listing, gr.update(visible=True), html, gr.update(value=name) if found else gr.skip()]

    def _try_adapter(self, name: str) -> list[Any]:
        """What the Generate tab holds to try an adapter: a prompt that calls it."""
        found = library.adapter_names(self.workspace).get(name)
        if not found:
            return [gr.skip()] * 4
        return [f"{describe(found[0]).trigger} <lora:{name}:{STRENGTH}>".strip(), gr.skip(), gr.update(value=False), ""]


def library_html(context: Context, language: str, chosen: str = "") -> str:
    """Adapters, base models and datasets, each with where more of them go. `chosen` is the adapter that stands beside."""
    workspace = context.workspace
    cards = library.named_adapters(workspace, LOOK_SECONDS)
    shown = dict.fromkeys([*([chosen] if chosen in cards else []), *list(cards)[:SHOWN_ADAPTERS]])
    pictures, _ = thumbnails((cards[name] for name in shown), workspace, LOOK_SECONDS)
    hint = t("text.lib.newest", language, shown=len(shown), count=f"{len(cards):,}") if len(cards) > len(shown) else ""
    nothing = empty(t("text.gen.empty_loras_title", language), t("text.lib.loras_empty", language, folder=workspace.loras))
    loras = gallery([cards[name] for name in shown], list(shown), chosen, language, pictures) if cards else nothing
    parts = [
        _section("loras", loras, hint, language),
        _section(
            "models",
            models_html(library.models(workspace, LOOK_SECONDS), language),
            t("text.lib.models_hint", language, folder=workspace.checkpoint_folders[0]),
            language,
        ),
        _section(
            "datasets",
            _datasets(context, language),
            t("text.lib.datasets_hint", language, folder=workspace.root / "datasets"),
            language,
        ),
    ]
    return "".join(parts)


def _section(name: str, body: str, hint: str, language: str) -> str:
    below = text("p", hint, class_="hint") if hint else ""
    return tag("section", text("h3", t(f"text.lib.{name}", language)) + body + below, class_="library")


def _datasets(context: Context, language: str) -> str:
    shipped = text("span", t("text.lib.practice", language), class_="badge")
    items = "".join(
        tag("li", text("strong", name) + (shipped if name.startswith("practice/") else ""))
        for name in library.datasets(context.workspace)
    )
    return tag("ul", items, class_="plain")
