"""Errors, notices and empty states as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import EngineError
from webui.i18n import explain, t
from webui.widgets.html import tag, text


def problem(error: EngineError, language: str, after: str = "") -> str:
    """What happened, and below it what to do."""
    told = explain(error, language)
    return tag(
        "div",
        text("strong", told.what) + "".join(text("span", part) for part in (told.expected, told.todo, after) if part),
        class_="note note-bad",
        role="alert",
    )


def plain_problem(words: str) -> str:
    return text("div", words, class_="note note-bad", role="alert") if words else ""


def empty(title: str, words: str) -> str:
    """What stands where there is nothing yet, and what to do about it."""
    return tag("div", text("strong", title) + text("span", words), class_="empty")


def notices(found: Sequence[EngineError], language: str) -> str:
    """Things worth knowing, those of one kind together."""
    groups: dict[str, list[EngineError]] = {}
    for notice in found:
        groups.setdefault(notice.code, []).append(notice)
    lines = [text("li", _together(group, language)) for group in groups.values()]
    return tag("div", text("strong", t("text.plan.notice", language)) + tag("ul", "".join(lines)), class_="note") if lines else ""


def _together(group: list[EngineError], language: str) -> str:
    first = group[0]
    if first.code == "caption.missing":
        fallback = str(first.values.get("fallback", ""))
        instead = t(f"text.notice.instead_{'fallback' if fallback else 'none'}", language, fallback=fallback)
        return t("text.notice.caption.missing", language, count=len(group), instead=instead)
    told = explain(first, language).text
    if first.code == "memory.too_little":
        ways = [t(f"text.memory.way.{way}", language) + (f" ({size} GiB)" if size else "") for way, size in first.values["ways"]]
        return (
            f"{explain(first, language).what} {t('text.memory.ways', language, list=t('text.memory.then', language).join(ways))}"
        )
    return told if len(group) == 1 else t("text.notice.many", language, text=told, count=len(group) - 1)
