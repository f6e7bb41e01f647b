"""The adapters beside the prompt: searched, sorted, some dozens at a time, with what is kept beside their files.

However many files there are, the page holds one portion of cards. What takes long, reading new headers and making small pictures,
is done a little with each look; a timer looks again until all is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import gradio as gr

from engine.adapter_library import AdapterCard, named_adapters, short_names
from engine.errors import AdapterError, EngineError
from engine.model_facts import STARTER
from engine.sidecars import MAX_WEIGHT, read_sidecar, set_preview, write_sidecar
from engine.workspace import Workspace
from webui.context import Context, reported
from webui.i18n import label, t
from webui.widgets.adapter_cards import guidance, insertable
from webui.widgets.adapter_pictures import thumbnails
from webui.widgets.chosen_model import chosen_model
from webui.widgets.html import tag, text
from webui.widgets.notices import problem

PORTION = 40
"""Cards that "more" adds."""
LOOK_SECONDS = 0.4
"""For reading new headers, and again for making small pictures."""
AGAIN_SECONDS = 1.0
SORTS = ("fits", "newest", "name")
ENTRIES = {"activation": "activation text", "negative": "negative text", "notes": "notes"}
"""Field of a card -> entry of the sidecar."""
BUTTONS = """
element.addEventListener('click', (event) => {
    const button = event.target.closest('[data-verb]');
    if (!button) return;
    const card = button.closest('.adapter');
    const fields = Object.fromEntries(Array.from(card?.querySelectorAll('[data-field]') ?? [], (field) => [field.dataset.field, field.value]));
    trigger('select', { verb: button.dataset.verb, name: card?.dataset.name ?? '', picture: window.atelier.pictureShown(), ...fields });
});
"""


class AdapterShelf:
    """Components in the place where it is made.

    Attributes:
        inputs, outputs: of `refresh`; `load` gives the same outputs.
    """

    def __init__(self, context: Context, model: Any) -> None:
        self.context, self.workspace = context, context.workspace
        self.seen, self.portions, self.opened = gr.State(""), gr.State(1), gr.State("")
        self.timer = gr.Timer(AGAIN_SECONDS, active=False)
        with gr.Row(elem_classes=["shelf-head"]):
            self.search = gr.Textbox(
                "", label=label("gen.search"), placeholder=label("gen.search"), show_label=False, container=False, elem_id="generate-search", max_lines=1, scale=3,
                min_width=140,
            )  # fmt: skip
            self.sort = gr.Dropdown(
                [(label(f"gen.sort_{sort}"), sort) for sort in SORTS], value=SORTS[0], label=label("gen.sort"), show_label=False, container=False,
                elem_id="generate-sort", scale=2, min_width=120, filterable=False,
            )  # fmt: skip
        self.told = gr.HTML(elem_id="generate-shelf-told", visible=False)
        self.view = gr.HTML(elem_id="generate-loras", js_on_load=BUTTONS)
        self.inputs: list[Any] = [model, self.seen, self.search, self.sort, self.portions, self.opened]
        self.outputs: list[Any] = [self.seen, self.view, self.timer]
        self._listen(model)

    def _listen(self, model: Any) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        begin = [self.portions, *self.outputs]
        gr.on([self.search.change, self.sort.input], self._begin, self.inputs, begin, trigger_mode="always_last", **quiet)
        self.timer.tick(self.refresh, self.inputs, self.outputs, **quiet)
        model.change(self.refresh, self.inputs, self.outputs, **quiet)
        self.view.select(self._press, self.inputs, [self.told, self.portions, self.opened, *self.outputs], **quiet)

    def load(self, request: gr.Request) -> list[Any]:
        """The page opens."""
        return self.refresh(request, STARTER, "", "", SORTS[0], 1, "")

    def refresh(
        self, request: gr.Request, model: str, seen: str, search: str, sort: str, portions: int, opened: str
    ) -> list[Any]:
        """The cards there are now, or nothing new where they are those that are shown."""
        html, whole = self._html(model, search, sort, portions, opened, self.context.language(request))
        return [html, gr.skip() if html == seen else html, gr.Timer(active=not whole)]

    def _begin(self, request: gr.Request, model: str, seen: str, search: str, sort: str, portions: int, opened: str) -> list[Any]:
        """Something else is searched: its first portion."""
        return [1, *self.refresh(request, model, seen, search, sort, 1, opened)]

    def _html(self, model: str, search: str, sort: str, portions: int, opened: str, language: str) -> tuple[str, bool]:
        cards = named_adapters(self.workspace, LOOK_SECONDS)
        facts = chosen_model(model, self.workspace)
        base = facts.family if facts else ""
        found = sort_cards(search_cards(cards, search), sort, base)
        shown = found[: portions * PORTION]
        pictures, whole = thumbnails((cards[name] for name in shown), self.workspace, LOOK_SECONDS)
        unread = sum(card.unread for card in cards.values())
        if cards and not found:
            body = text("p", t("text.gen.no_match", language, words=search.strip()), class_="hint")
        else:
            body = insertable(
                [cards[name] for name in shown], shown, base, self.workspace, language, others=short_names(cards, shown),
                pictures=pictures, opened=opened,
            )  # fmt: skip
        return guidance(language) + body + _foot(len(shown), len(found), unread, language), whole and not unread

    def _press(
        self, request: gr.Request, event: gr.EventData, model: str, seen: str, search: str, sort: str, portions: int, opened: str
    ) -> list[Any]:
        """A button on a card: more cards, or keep something beside the card's file."""
        said, language = event._data, self.context.language(request)
        problems: list[EngineError] = []
        kept: Path | None = None
        name = str(said.get("name", ""))
        if said.get("verb") == "more":
            portions += 1
        else:
            opened = name
            with reported(problems):
                self.context.check_owner(request)
                kept = keep(said, self.workspace)
        words = problem(problems[0], language) if problems else _kept(kept, language) if kept else ""
        shown = self.refresh(request, model, seen, search, sort, portions, opened)
        return [gr.update(value=words, visible=bool(words)), portions, opened, *shown]


def search_cards(cards: Mapping[str, AdapterCard], words: str) -> dict[str, AdapterCard]:
    """The cards in whose names, trigger words or training tags all the words stand."""
    wanted = words.casefold().split()
    if not wanted:
        return dict(cards)

    def told(name: str, card: AdapterCard) -> str:
        parts = [name, read_sidecar(card.path).activation]
        if card.summary:
            parts += [card.summary.output_name, card.summary.trigger, *(word for word, _ in card.summary.tags)]
        return "\n".join(parts).casefold()

    return {name: card for name, card in cards.items() if all(word in lines for lines in [told(name, card)] for word in wanted)}


def sort_cards(cards: Mapping[str, AdapterCard], sort: str, base: str) -> list[str]:
    """Their names, from the newest first to the order that is asked for."""
    if sort == "name":
        return sorted(cards, key=str.casefold)
    if sort == "fits" and base:
        return sorted(cards, key=lambda name: not (cards[name].summary and cards[name].summary.base == base))
    return list(cards)


def keep(said: Mapping[str, Any], workspace: Workspace) -> Path | None:
    """Write what a card's fields hold beside its file, or make the picture that is shown its preview.

    Returns:
        What was written; None where nothing was asked for.

    Raises:
        AdapterError: `adapter.gone`, `sidecar.unreadable`, `sidecar.bad_weight`, `sidecar.no_picture`.
        DatasetError: `picture.unreadable`, `picture.too_large`.
    """
    name = str(said.get("name", ""))
    card = named_adapters(workspace, 0).get(name)
    if card is None:
        raise AdapterError("adapter.gone", f"The file of {name} is not there any more.", todo="Reload the page.", name=name)
    if said.get("verb") == "preview":
        return set_preview(card.path, _finished(str(said.get("picture", "")), workspace))
    if said.get("verb") == "save":
        written = {entry: str(said[field]).strip() for field, entry in ENTRIES.items() if field in said}
        return write_sidecar(card.path, written | {"preferred weight": _preferred(str(said.get("weight", "")).strip())})
    return None


def _preferred(typed: str) -> float:
    """Raises AdapterError: `sidecar.bad_weight`."""
    try:
        weight = float(typed or 0)
        if abs(weight) <= MAX_WEIGHT:
            return weight
    except ValueError:
        pass
    raise AdapterError(
        "sidecar.bad_weight", f"{typed!r} cannot be a strength.", f"A number such as 0.8, at most {MAX_WEIGHT:g}.", "Correct it.",
        weight=typed, most=f"{MAX_WEIGHT:g}",
    )  # fmt: skip


def _finished(address: str, workspace: Workspace) -> Path:
    """The finished picture at an address of the page, or the copy of it that Gradio serves. No other file is taken, whatever is asked for.

    Raises:
        AdapterError: `sidecar.no_picture`.
    """
    file = Path(unquote(urlsplit(address).path.rpartition("/file=")[2]) or "/")
    roots = [root.resolve() for root in (workspace.outputs, workspace.cache / "gradio")]
    try:
        if file.is_file() and any(file.resolve().is_relative_to(root) for root in roots):
            return file
    except (OSError, ValueError):
        pass
    raise AdapterError("sidecar.no_picture", "There is no finished picture to take.", todo="Make a picture first, and choose it.")


def _kept(file: Path, language: str) -> str:
    return text("div", t("text.card.kept", language, file=file.name), class_="note note-good", role="status")


def _foot(shown: int, found: int, unread: int, language: str) -> str:
    """How many there are, and more of them."""
    words = [t("text.gen.shown", language, shown=f"{shown:,}", count=f"{found:,}")] if found > shown else []
    words += [t("text.gen.reading", language, count=f"{unread:,}")] if unread else []
    more = text("button", t("text.gen.more", language), type="button", data_verb="more") if found > shown else ""
    return tag("div", text("span", " ".join(words)) + more, class_="shelf-foot") if words else ""
