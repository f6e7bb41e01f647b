"""The base models at hand as a list: what each is, how large, in which number format, by which hash others know it, what is wrong.

Names come from files of strangers; all text is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine import library
from engine.library import ModelCard
from webui.i18n import explain, t, table
from webui.widgets.html import tag, text
from webui.widgets.words import megabytes

HASH_DIGITS = 10
"""Of the hash, as AUTOMATIC1111 shows it."""


def models_html(cards: Sequence[ModelCard], language: str) -> str:
    return tag("ul", "".join(_row(card, language) for card in cards), class_="plain models")


def _row(card: ModelCard, language: str) -> str:
    head = text("strong", card.name) + _badges(card, language)
    lines = [tag("div", head, class_="name"), text("div", " · ".join(_facts(card, language)), class_="hint")]
    if card.problem:
        lines.append(text("div", explain(card.problem, language).text, class_="bad"))
    if card.unread:
        lines.append(text("div", t("text.model.unread", language), class_="hint"))
    if card.pickled and not card.family:
        lines.append(text("div", t("text.model.pickled", language), class_="hint"))
    return tag("li", "".join(lines))


def _badges(card: ModelCard, language: str) -> str:
    family = card.title or table(language).get(f"text.family.{card.family}", card.family)
    words = [family, t("text.lib.practice", language) if card.name == library.STARTER else ""]
    return "".join(text("span", word, class_="badge") for word in words if word)


def _facts(card: ModelCard, language: str) -> list[str]:
    usable = card.family and not card.problem
    return [
        *([card.format] if card.format else []),
        megabytes(card.size, language),
        *([t("text.model.parts", language, files=", ".join(card.parts))] if card.parts else []),
        *([t("text.model.hash", language, hash=card.sha256[:HASH_DIGITS])] if card.sha256 else []),
        *([t("text.model.no_hash", language)] if usable and not card.sha256 else []),
    ]
