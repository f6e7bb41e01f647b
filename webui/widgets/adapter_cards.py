"""Adapters as cards: in Generate with a strength and a button that writes the tag into the prompt, in Library to look at.

Names and metadata were written by strangers; all of it is escaped. What the buttons do is in `assets/shortcuts.js`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.formats.summary import AdapterSummary
from engine.library import AdapterCard
from engine.workspace import Workspace
from webui.i18n import explain, t, table
from webui.widgets.adapter_detail import algorithm_words, span
from webui.widgets.html import esc, tag, text
from webui.widgets.notices import empty
from webui.widgets.words import megabytes

STRENGTH = 0.8
SHOWN_TRIGGER = 200


def insertable(cards: Sequence[AdapterCard], names: Sequence[str], base: str, workspace: Workspace, language: str) -> str:
    """Cards for the prompt box.

    Args:
        names: what a tag calls each of the cards.
        base: family of the chosen base model; cards for another one are marked, never hidden.
    """
    if not cards:
        words = t("text.gen.empty_loras", language, folder=workspace.loras)
        return empty(t("text.gen.empty_loras_title", language), words)
    rows = "".join(_row(card, name, base, language) for card, name in zip(cards, names, strict=True))
    return tag("ul", rows, class_="adapters")


def _row(card: AdapterCard, name: str, base: str, language: str) -> str:
    if card.summary is None:
        told = explain(card.problem, language).text if card.problem else t("text.card.damaged", language)
        return tag("li", text("strong", name) + text("span", told, class_="bad"), class_="adapter")
    trigger = card.summary.trigger[:SHOWN_TRIGGER]
    head = text("strong", name) + _base_badge(card.summary, base, language)
    under = text("span", t("text.card.trigger", language, trigger=trigger) if trigger else t("text.card.no_trigger", language))
    slider = tag(
        "input", type="range", min=0, max=1.5, step=0.05, value=STRENGTH, class_="strength",
        aria_label=f"{t('text.gen.strength', language)} {name}",
    )  # fmt: skip
    number = text("output", f"{STRENGTH:.2f}")
    button = text(
        "button", t("text.gen.add", language), type="button", class_="insert", data_add=t("text.gen.add", language),
        data_remove=t("text.gen.remove", language),
    )  # fmt: skip
    what = tag("div", tag("div", head, class_="name") + tag("div", under, class_="under"), class_="what")
    return tag("li", what + slider + number + button, class_="adapter", data_name=name, data_trigger=trigger)


def _base_badge(summary: AdapterSummary, base: str, language: str) -> str:
    family = summary.base
    shown = table(language).get(f"text.family.{family}", family) or t("text.card.base_unknown", language)
    other = bool(base and family and family != base)
    words = t("text.gen.other_base", language, base=shown) if other else shown
    return text("span", words, class_="badge warn" if other else "badge")


def gallery(cards: Sequence[AdapterCard], names: Sequence[str], chosen: str, language: str) -> str:
    """Cards to choose one from.

    Args:
        names: what a tag calls each of the cards.
        chosen: the one that is shown in full.
    """
    drawn = "".join(_card(card, name, name == chosen, language) for card, name in zip(cards, names, strict=True))
    return tag("div", drawn, class_="cards")


def _card(card: AdapterCard, name: str, chosen: bool, language: str) -> str:
    summary = card.summary
    if summary is None:
        told = explain(card.problem, language) if card.problem else None
        return tag("article", text("h4", name) + text("p", told.text if told else "", class_="bad"), class_="card")
    facts = [
        algorithm_words(summary, language),
        *([t("text.card.rank", language, rank=span(summary.ranks))] if summary.ranks else []),
        t("text.card.modules", language, count=sum(summary.modules.values())),
        *([t("text.card.pictures", language, count=summary.pictures)] if summary.pictures else []),
        megabytes(summary.size, language),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(summary.mtime_ns / 1e9)),
    ]
    trigger = summary.trigger[:SHOWN_TRIGGER]
    lines = [
        tag("h4", esc(name) + _base_badge(summary, "", language)),
        text("p", t("text.card.trigger", language, trigger=trigger) if trigger else t("text.card.no_trigger", language)),
        text("p", " · ".join(facts), class_="hint"),
    ]
    return tag(
        "button", "".join(lines), type="button", class_="card chosen" if chosen else "card", data_adapter=name,
        aria_pressed=str(chosen).lower(),
    )  # fmt: skip
