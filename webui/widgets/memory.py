"""The memory of a planned run: its peak in a line, and a bar for each phase with what it is made of."""

from __future__ import annotations

from engine.memory.forecast import MemoryForecast
from webui.i18n import t
from webui.widgets.html import tag, text


def gibibytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.0f} MiB"


def memory_html(found: MemoryForecast, language: str) -> str:
    """A `details` element: the peak, with the phases inside."""
    phase = t(f"text.memory.phase.{found.largest}", language)
    peak = t("text.memory.peak", language, size=gibibytes(found.peak), phase=phase)
    bars = "".join(_phase(found, name, language) for name in found.phases)
    room = (
        text("p", t("text.memory.available", language, size=gibibytes(found.available)), class_="hint") if found.available else ""
    )
    return tag("details", text("summary", peak, class_=None if found.fits else "bad") + tag("ul", bars) + room, class_="memory")


def _phase(found: MemoryForecast, phase: str, language: str) -> str:
    """One bar; its terms stand below it, and by name where the pointer is."""
    terms = found.phases[phase]  # type: ignore[index]
    named = {term: f"{t(f'text.memory.term.{term}', language)} {gibibytes(size)}" for term, size in terms.items()}
    parts = "".join(
        tag("i", title=named[term], class_=f"memory-{term}", style=f"width: {100 * size / found.peak:.2f}%")
        for term, size in terms.items()
    )
    head = text("span", t(f"text.memory.phase.{phase}", language)) + text("b", gibibytes(sum(terms.values())))
    listed = text("small", " + ".join(named[term] for term in sorted(terms, key=lambda term: -terms[term])))
    return tag("li", head + tag("div", parts, class_="memory-bar") + listed, class_="largest" if phase == found.largest else None)
