"""The Library tab: what is at hand, and where to put more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine import library
from webui.context import Context
from webui.i18n import explain, label, t, table
from webui.widgets.adapter_cards import gallery
from webui.widgets.html import tag, text
from webui.widgets.notices import empty


@dataclass
class LibraryTab:
    """What the page connects."""

    refresh: Any
    refresh_outputs: list[Any]


def build(context: Context) -> LibraryTab:
    view = gr.HTML(elem_id="library-view")
    again = gr.Button(label("lib.refresh"), elem_id="library-refresh", size="sm")

    def refresh(request: gr.Request) -> str:
        return library_html(context, context.language(request))

    again.click(refresh, None, view, queue=False, show_progress="hidden", api_visibility="private")
    return LibraryTab(refresh, [view])


def library_html(context: Context, language: str) -> str:
    """Adapters, base models and datasets, each with where more of them go."""
    workspace = context.workspace
    cards = library.adapters(workspace)
    nothing = empty(t("text.gen.empty_loras_title", language), t("text.lib.loras_empty", language, folder=workspace.loras))
    parts = [
        _section("loras", gallery(cards, language) if cards else nothing, "", language),
        _section(
            "models",
            _models(context, language),
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


def _models(context: Context, language: str) -> str:
    items = ""
    for card in library.models(context.workspace):
        family = table(language).get(f"text.family.{card.family}", card.family)
        note = (
            text("span", explain(card.problem, language).text, class_="bad")
            if card.problem
            else text("span", family, class_="badge")
        )
        shipped = text("span", t("text.lib.practice", language), class_="badge") if card.name == library.STARTER else ""
        items += tag("li", text("strong", card.name) + note + shipped)
    return tag("ul", items, class_="plain")


def _datasets(context: Context, language: str) -> str:
    shipped = text("span", t("text.lib.practice", language), class_="badge")
    items = "".join(
        tag("li", text("strong", name) + (shipped if name.startswith("practice/") else ""))
        for name in library.datasets(context.workspace)
    )
    return tag("ul", items, class_="plain")
