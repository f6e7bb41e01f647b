from __future__ import annotations

import pytest

from engine.errors import EngineError
from engine.memory.forecast import MemoryForecast
from webui.i18n import LANGUAGES, t
from webui.widgets.memory import gibibytes, memory_html
from webui.widgets.notices import notices

GIB = 2**30
PHASES = {
    "loading": {"adapter": GIB // 8, "base": 2 * GIB},
    "training": {"adapter": GIB // 8, "base": 2 * GIB, "gradients": GIB // 8, "optimizer": GIB // 4, "activations": 3 * GIB},
}


def test_sizes_as_people_read_them() -> None:
    assert [gibibytes(size) for size in (0, 10 * 2**20, GIB // 5, 7.4 * GIB)] == ["0 MiB", "10 MiB", "0.2 GiB", "7.4 GiB"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_peak_stands_in_the_line_and_every_phase_inside(language: str) -> None:
    shown = memory_html(MemoryForecast(PHASES, 0, 8 * GIB), language)  # type: ignore[arg-type]
    head, inside = shown.split("</summary>")
    assert gibibytes(5.5 * GIB) in head and t("text.memory.phase.training", language) in head and "bad" not in head
    for phase, terms in PHASES.items():
        assert t(f"text.memory.phase.{phase}", language) in inside
        assert all(f"{t(f'text.memory.term.{term}', language)} {gibibytes(size)}" in inside for term, size in terms.items())
    assert inside.count('class="largest"') == 1 and gibibytes(8 * GIB) in inside
    widths = [float(part.split("%")[0]) for part in inside.split("width: ")[1:]]
    assert sum(widths[2:]) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_too_little_memory_is_red_and_says_what_helps(language: str) -> None:
    narrow = MemoryForecast(PHASES, 0, 4 * GIB)  # type: ignore[arg-type]
    assert 'class="bad"' in memory_html(narrow, language)
    notice = EngineError(
        "memory.too_little",
        "It needs 5.5, and has 4.0.",
        needed="5.5",
        available="4.0",
        ways=[("checkpointing", "4.2"), ("resolution", "")],
    )
    told = notices([notice], language)
    assert "5.5" in told and "4.0" in told and f"{t('text.memory.way.checkpointing', language)} (4.2 GiB)" in told
    assert t("text.memory.way.resolution", language) in told
    assert gibibytes(4 * GIB) not in memory_html(MemoryForecast(PHASES, 0), language)  # type: ignore[arg-type]
