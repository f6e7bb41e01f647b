"""Adapters as cards: in Generate with a strength and a button that writes the tag into the prompt, in Library to look at.

Names and metadata were written by strangers; all of it is escaped. What the buttons do is in `assets/shortcuts.js`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.adapter_library import AdapterCard
from engine.formats.summary import SHOWN_TAGS, AdapterSummary
from engine.jobs.job import Job
from engine.sidecars import Sidecar, read_sidecar
from engine.workspace import Workspace
from webui.i18n import explain, t, table
from webui.widgets.adapter_detail import algorithm_words, span
from webui.widgets.adapter_pictures import thumbnail
from webui.widgets.html import esc, tag, text
from webui.widgets.notices import empty
from webui.widgets.words import megabytes, short

STRENGTH = 0.8
SHOWN_TRIGGER, SHOWN_WORD = 200, 60
"""Characters."""
SENTENCE = 16
"""Characters that tags have on average when they are no tags but sentences."""
UNTYPABLE = frozenset(":>#\n")
"""What ends a name in a tag or starts a comment, so that no tag can call a file of such a name."""


def insertable(
    cards: Sequence[AdapterCard], names: Sequence[str], base: str, workspace: Workspace, language: str, *,
    others: Mapping[str, Sequence[str]] | None = None, pictures: Mapping[Path, str] | None = None, opened: str = "",
) -> str:  # fmt: skip
    """Cards for the prompt box.

    Args:
        names: what a tag calls each of the cards.
        base: family of the chosen base model; cards for another one are marked, never hidden.
        others: what else a tag may call a card.
        pictures: file -> address of its small picture.
        opened: the card whose details stand open.
    """
    if not cards:
        words = t("text.gen.empty_loras", language, folder=workspace.loras)
        return empty(t("text.gen.empty_loras_title", language), words)
    others, pictures = others or {}, pictures or {}
    rows = "".join(
        _row(card, name, base, language, others.get(name, ()), pictures.get(card.path), name == opened)
        for card, name in zip(cards, names, strict=True)
    )
    return tag("ul", rows, class_="adapters")


def guidance(language: str) -> str:
    """How strong an adapter should be; the page marks what holds for the prompt as it is."""
    parts = "".join(text("span", t(f"text.gen.dose_{kind}", language), data_dose=kind) for kind in ("one", "strong", "several"))
    return tag("p", parts, class_="doses")


def live_card(run: Job | None, on: bool, language: str) -> str:
    """The adapter in training as a card: it has no file yet and no tag, so its button switches it on and off.

    Args:
        run: the training run at work, once it has made its first step.
        on: whether pictures are made with it.
    """
    progress = (run.progress or {}) if run else {}
    if not run or not progress.get("step"):
        return ""
    step = t("text.run.step", language, step=progress["step"], steps=progress["steps"])
    head = text("strong", run.name) + text("span", t("text.gen.live_badge", language), class_="badge state-running")
    what = tag("div", tag("div", head, class_="name") + text("div", step, class_="under"), class_="what")
    button = text(
        "button", t(f"text.gen.live_{'off' if on else 'on'}", language), type="button", class_="switch-live", aria_pressed=str(on).lower(),
        data_on=t("text.gen.live_on", language), data_off=t("text.gen.live_off", language),
    )  # fmt: skip
    note = text("p", t("text.gen.live_note", language), class_="hint")
    return tag("div", thumbnail(run.name, None) + what + button + note, class_="adapter live in-use" if on else "adapter live")


def _row(card: AdapterCard, name: str, base: str, language: str, others: Sequence[str], picture: str | None, opened: bool) -> str:
    thumb = thumbnail(name, picture)
    if card.summary is None:
        told = t("text.card.unread" if card.unread else "text.card.damaged", language)
        told = explain(card.problem, language).text if card.problem else told
        what = tag("div", text("strong", name) + text("div", told, class_="under" if card.unread else "bad"), class_="what")
        return tag("li", thumb + what, class_="adapter")
    beside = read_sidecar(card.path)
    trigger = (beside.activation or card.summary.trigger)[:SHOWN_TRIGGER]
    head = text("strong", name) + _base_badge(card.summary, base, language)
    under = t("text.card.trigger", language, trigger=trigger) if trigger else t("text.card.no_trigger", language)
    what = tag("div", tag("div", head, class_="name") + text("div", under, class_="under"), class_="what")
    if set(name) & UNTYPABLE:
        return tag("li", thumb + what + text("p", t("text.card.untypable", language), class_="bad"), class_="adapter")
    return tag(
        "li", thumb + what + _dose(name, beside.start or STRENGTH, language) + _details(name, card.summary, beside, language, opened),
        class_="adapter", data_name=name, data_calls="\n".join([name, *others]), data_trigger=trigger,
        data_negative=beside.negative[:SHOWN_TRIGGER],
    )  # fmt: skip


def _dose(name: str, start: float, language: str) -> str:
    """The slider, its number, and the button that writes the tag."""
    slider = tag(
        "input", type="range", min=min(0, start), max=max(1.5, start), step=0.05, value=short(start), class_="strength",
        aria_label=f"{t('text.gen.strength', language)} {name}",
    )  # fmt: skip
    button = text(
        "button", t("text.gen.add", language), type="button", class_="insert", data_add=t("text.gen.add", language),
        data_remove=t("text.gen.remove", language),
    )  # fmt: skip
    return tag("div", slider + text("output", f"{start:.2f}") + button, class_="dose")


def _details(name: str, summary: AdapterSummary, beside: Sidecar, language: str, opened: bool) -> str:
    """What the file and its sidecar say, words to click into the prompt, and the sidecar's own fields to change."""
    chips = "".join(text("button", word, type="button", class_="chip") for word in suggested_words(summary))
    said = beside.description or summary.description
    parts = [
        text("p", _of_grid(beside, language), class_="suggestion") if beside.suggested_weight else "",
        tag("div", chips, class_="chips") if chips else "",
        text("p", said, class_="said") if said else "",
        text("p", explain(beside.problem, language).text, class_="bad") if beside.problem else _fields(beside, summary, language),
    ]
    title = text("summary", t("text.card.more", language))
    return tag("details", title + tag("div", "".join(parts), class_="inside"), open="" if opened else None)


def _of_grid(beside: Sidecar, language: str) -> str:
    at = t("text.card.at_epoch", language, epoch=beside.suggested_epoch) if beside.suggested_epoch else ""
    why = t("text.card.why", language, why=beside.why) if beside.why else ""
    return t("text.card.of_grid", language, strength=short(beside.suggested_weight), epoch=at, why=why)


def _fields(beside: Sidecar, summary: AdapterSummary, language: str) -> str:
    """What is kept beside the file, and the buttons that keep it."""

    def field(key: str, element: str, content: str = "", **attributes: object) -> str:
        label = text("span", t(f"text.card.sidecar.{key}", language))
        return tag("label", label + tag(element, content, data_field=key, **attributes))

    parts = (
        field("activation", "input", type="text", value=beside.activation, placeholder=summary.trigger[:SHOWN_TRIGGER]),
        field("negative", "input", type="text", value=beside.negative),
        field(
            "weight", "input", type="number", step=0.05, value=short(beside.weight) if beside.weight else "", placeholder=STRENGTH
        ),
        field("notes", "textarea", esc(beside.notes), rows=2),
    )
    buttons = "".join(
        text("button", t(f"text.card.sidecar.{verb}", language), type="button", data_verb=verb) for verb in ("save", "preview")
    )
    fields = tag("div", "".join(parts) + tag("div", buttons, class_="verbs"), class_="sidecar")
    return tag("details", text("summary", t("text.card.sidecar.title", language)) + fields)


def suggested_words(summary: AdapterSummary) -> list[str]:
    """The training tags, the most frequent first. Captions in sentences, told by their length, are taken apart into words."""
    counts = dict(summary.tags)
    if counts and sum(map(len, counts)) / len(counts) >= SENTENCE:
        split: Counter[str] = Counter()
        for sentence, count in counts.items():
            split.update(dict.fromkeys(re.findall(r"\w{3,}", sentence.lower()), count))
        counts = split
    return [word[:SHOWN_WORD] for word, _ in Counter(counts).most_common(SHOWN_TAGS) if word]


def _base_badge(summary: AdapterSummary, base: str, language: str) -> str:
    family = summary.base
    shown = table(language).get(f"text.family.{family}", family) or t("text.card.base_unknown", language)
    other = bool(base and family and family != base)
    words = t("text.gen.other_base", language, base=shown) if other else shown
    return text("span", words, class_="badge warn" if other else "badge")


def gallery(
    cards: Sequence[AdapterCard], names: Sequence[str], chosen: str, language: str, pictures: Mapping[Path, str] | None = None
) -> str:
    """Cards to choose one from.

    Args:
        names: what a tag calls each of the cards.
        chosen: the one that is shown in full.
        pictures: file -> address of its small picture.
    """
    shown = pictures or {}
    drawn = "".join(
        _card(card, name, name == chosen, language, shown.get(card.path)) for card, name in zip(cards, names, strict=True)
    )
    return tag("div", drawn, class_="cards")


def _card(card: AdapterCard, name: str, chosen: bool, language: str, picture: str | None) -> str:
    summary = card.summary
    if summary is None:
        told = explain(card.problem, language).text if card.problem else t("text.card.unread", language)
        return tag("article", text("h4", name) + text("p", told, class_="bad" if card.problem else "hint"), class_="card")
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
        thumbnail(name, picture),
        tag("h4", esc(name) + _base_badge(summary, "", language)),
        text("p", t("text.card.trigger", language, trigger=trigger) if trigger else t("text.card.no_trigger", language)),
        text("p", " · ".join(facts), class_="hint"),
    ]
    return tag(
        "button", "".join(lines), type="button", class_="card chosen" if chosen else "card", data_adapter=name,
        aria_pressed=str(chosen).lower(),
    )  # fmt: skip
