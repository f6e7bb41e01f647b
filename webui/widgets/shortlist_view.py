"""The shortlist below a grid as HTML: versions by strengths with their scores, and what to try first and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from engine.errors import EngineError
from engine.grid.plan import Line
from engine.grid.suggest import GroupScore, Scores, Suggestion, suggest
from webui.i18n import explain, t
from webui.widgets.grid_view import axis_name, shown_label
from webui.widgets.html import esc, tag, text

At = tuple[tuple[str, int], ...]


def shortlist_html(scores: Scores | None, lines: Mapping[str, Line], language: str) -> str:
    """The scores of a grid; "" where there are none."""
    if scores is None:
        return ""
    parts = [text("h4", t("text.grid.shortlist", language))]
    if scores.error:
        told = explain(EngineError.from_dict(scores.error), language)
        parts.append(tag("div", text("strong", told.what) + text("span", told.todo), class_="note"))
    if scores.groups:
        found = suggest(scores.groups)
        parts += [
            _suggestion(found, len(scores.groups), language) if found else text("p", t("text.grid.nothing", language), class_="note"),
            _table(scores.groups, found, lines, language),
            _legend(language),
            text("p", t("text.grid.method", language, count=scores.training), class_="hint"),
        ]  # fmt: skip
    return tag("div", "".join(parts), class_="shortlist")


def _suggestion(found: Suggestion, count: int, language: str) -> str:
    best = found.best
    head = text("strong", t("text.grid.try", language, version=version_words(best, language), strength=strength_words(best)))
    button = text("button", t("text.grid.use", language), type="button", class_="use", data_use="best")
    why = tag("ul", "".join(text("li", each) for each in reasons(found, count, language)))
    return tag("div", tag("div", head + button, class_="try") + why, class_="note note-good")


def reasons(found: Suggestion, count: int, language: str) -> list[str]:
    """Why this one, and why not more of it."""
    best = found.best
    words = {"likeness": percent(best.likeness), "count": count}
    if best.diversity is None:
        lines = [t("text.grid.why_one", language, **words)]
    else:
        lines = [t("text.grid.why", language, **words, diversity=percent(best.diversity))]
    for kind, other in (("stronger", found.stronger), ("later", found.later)):
        if other:
            how = "alike" if best.diversity is None or other.diversity is None or other.likeness < best.likeness else "same"
            lines.append(t(
                f"text.grid.{kind}_{how}", language, strength=strength_words(other), version=version_words(other, language),
                likeness=percent(other.likeness), diversity=percent(other.diversity or 0),
            ))  # fmt: skip
    return lines


def _table(groups: Sequence[GroupScore], found: Suggestion | None, lines: Mapping[str, Line], language: str) -> str:
    """One adapter axis along the top, the others down the side."""
    by_place = {tuple(group.at.items()): group for group in groups}
    across, *down = groups[0].at
    places = {letter: sorted({group.at[letter] for group in groups}) for letter in (across, *down)}
    heads = "".join(text("th", shown_label(lines[across], index, language), scope="col") for index in places[across])
    names = [("→", axis_name(lines[across], language)), *(("↓", axis_name(lines[letter], language)) for letter in down)]
    corner = "".join(tag("div", esc(f"{arrow} {name}")) for arrow, name in names)
    rows = ""
    for row in product(*(places[letter] for letter in down)):
        head = " · ".join(shown_label(lines[letter], index, language) for letter, index in zip(down, row, strict=True))
        cells = ""
        for index in places[across]:
            at: At = ((across, index), *zip(down, row, strict=True))
            cells += _cell(by_place.get(at), found, language)
        rows += tag("tr", text("th", head, scope="row") + cells)
    head = tag("thead", tag("tr", tag("td", corner) + heads))
    return tag("div", tag("table", head + tag("tbody", rows)), class_="wide")


def _cell(group: GroupScore | None, found: Suggestion | None, language: str) -> str:
    if group is None:
        return tag("td")
    bars = _bar("likeness", group.likeness) + (_bar("diversity", group.diversity) if group.diversity is not None else "")
    key = "one" if group.diversity is None else "two"
    title = t(f"text.grid.cell_{key}", language, likeness=percent(group.likeness), diversity=percent(group.diversity or 0))
    return tag(
        "td", text("b", f"{100 * group.total:.0f}") + bars, title=title, style=f"--heat: {100 * group.total:.0f}%",
        class_="score best" if found and group == found.best else "score",
    )  # fmt: skip


def _bar(kind: str, value: float) -> str:
    return tag("i", tag("i", style=f"width: {100 * min(max(value, 0), 1):.0f}%"), class_=f"meter {kind}")


def _legend(language: str) -> str:
    parts = "".join(
        tag("span", tag("i", class_=f"meter {kind}") + esc(t(f"text.grid.{kind}", language)))
        for kind in ("likeness", "diversity")
    )
    return tag("p", parts + text("span", t("text.grid.total", language)), class_="legend")


def version_words(group: GroupScore, language: str) -> str:
    """A version in the user's language."""
    line = Line("epoch", "", (group.version,))
    return shown_label(line, 0, language)


def strength_words(group: GroupScore) -> str:
    """Its strength as a tag has it."""
    return f"{group.unet:g}" if group.text_encoder == group.unet else f"{group.text_encoder:g}:{group.unet:g}"


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"
