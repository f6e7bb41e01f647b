"""The table of a grid and its shortlist: what stands where, what a button means, and that strangers' text stays text."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import EngineError, PromptError
from engine.grid.plan import Line, Place
from engine.grid.record import GridRecord, MadeCell
from engine.grid.suggest import GroupScore, Scores, suggest
from engine.jobs.generating import ResultPicture
from engine.workspace import Workspace
from webui.i18n import LANGUAGES, t, table
from webui.widgets.grid_view import Small, find_cell, grid_html, shown_label
from webui.widgets.shortlist_view import reasons, shortlist_html

BAD = "<img src=x onerror=alert(1)>{{7*7}}${x}`"
NONE = Line("none", "", ("",))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


def picture(workspace: Workspace, number: int, problems: tuple[dict, ...] = ()) -> ResultPicture:
    file = workspace.outputs / f"{number}.png"
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
    return ResultPicture(file, number, "", False, list(problems), [])


@pytest.fixture
def record(workspace: Workspace) -> GridRecord:
    """Two prompts; x: base, 0.5, 1; y: two versions. Made are: the base of the first prompt, a cell of two, a failed one."""
    lines = {
        "x": Line("strength", "0.5, 1", ("without LoRA", "0.5", "1"), base=True),
        "y": Line("epoch", "", ("epoch 1 / step 4", "epoch 2 / step 8")), "z": NONE,
    }  # fmt: skip
    error = PromptError("made.up", f"No {BAD}").to_dict()
    cells = [
        MadeCell((Place(0, 0, 0, 0), Place(0, 0, 1, 0)), (picture(workspace, 1),)),
        MadeCell((Place(0, 0, 1, 1),), (picture(workspace, 2), picture(workspace, 3, (error,)))),
        MadeCell((Place(1, 0, 0, 2),), (), error),
    ]
    return GridRecord(workspace.outputs, (f"a cat {BAD}", "a dog"), lines, 10, cells)


def drawn(record: GridRecord, workspace: Workspace, seconds: float = 9, working: bool = False, language: str = "en") -> str:
    return grid_html(record, Small(workspace, seconds), working, "0-0-1-1-1", language)


def test_every_picture_is_a_button_at_its_place(record: GridRecord, workspace: Workspace) -> None:
    words = drawn(record, workspace)
    assert re.findall(r'data-cell="([\d-]+)"', words) == ["0-0-0-0-0", "0-0-1-0-0", "0-0-1-1-0", "0-0-1-1-1", "1-0-0-2-0"]
    assert words.count("<table") == 2 and words.count("<img") == 4 and words.count('class="mark"') == 1
    assert words.count('class="chosen"') == 1 and words.count('class="missing"') == 12 - 4
    assert "waiting" not in words and drawn(record, workspace, working=True).count("waiting") == 8


def test_what_a_button_means(record: GridRecord) -> None:
    assert find_cell(record, "0-0-1-1-1") == (record.cells[1], record.cells[1].pictures[1])
    assert find_cell(record, "0-0-1-0-0") == (record.cells[0], record.cells[0].pictures[0])
    assert find_cell(record, "1-0-0-2-0") == (record.cells[2], None)
    for strange in ("", "0-0-0", "0-0-0-1-0", "9-9-9-9-9", "a-b-c-d-e", "0-0-0-0-0-0", "-1-0-0-0-0"):
        assert find_cell(record, strange) is None


def test_small_copies_are_made_while_there_is_time(record: GridRecord, workspace: Workspace) -> None:
    late = Small(workspace, -1)
    assert "<img" not in grid_html(record, late, False, "", "en") and not late.whole
    drawn(record, workspace)
    late = Small(workspace, -1)
    assert grid_html(record, late, False, "", "en").count("<img") == 4 and late.whole
    record.cells[0].pictures[0].file.unlink()
    assert drawn(record, workspace).count("<img") == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_strangers_text_stays_text_and_labels_are_told(record: GridRecord, workspace: Workspace, language: str) -> None:
    words = drawn(record, workspace, language=language)
    assert "<img src=x" not in words and "{{" not in words and "${" not in words and html.escape("<img src=x") in words
    for label in (t("text.grid.base", language), t("text.grid.version", language, epoch=2, step=8), "0.5"):
        assert f">{label}</th>" in words
    assert table(language)["grid.x.kind.choice.epoch"] in words


def test_labels() -> None:
    assert shown_label(Line("none", "", ("without LoRA", "with LoRA"), base=True), 1, "en") == "with LoRA"
    assert shown_label(NONE, 0, "en") == "" and shown_label(Line("adapter", "", ("off",)), 0, "ja") == "off"
    assert shown_label(Line("prompt", "", ("x" * 200,)), 0, "en").endswith("x…")


# ---- the shortlist ----


def group(x: int, y: int, likeness: float, diversity: float | None = 0.9) -> GroupScore:
    total = likeness if diversity is None else min(likeness, diversity)
    return GroupScore(
        {"x": x, "y": y},
        f"gull{y}",
        4 * (y + 1),
        f"epoch {y + 1} / step {4 * (y + 1)}",
        x / 2,
        x / 2,
        2,
        likeness,
        diversity,
        total,
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_scores_stand_at_version_and_strength(record: GridRecord, language: str) -> None:
    scores = Scores((group(1, 0, 0.3), group(2, 0, 0.4), group(1, 1, 0.8), group(2, 1, 0.5, 0.2)), "", 16)
    words = shortlist_html(scores, record.lines, language)
    assert re.findall(r"<b>(\d+)</b>", words) == ["30", "40", "80", "20"] and words.count("score best") == 1
    assert t("text.grid.try", language, version=t("text.grid.version", language, epoch=2, step=8), strength="0.5") in words
    assert words.count("data-use") == 1 and "16" in words


def test_why() -> None:
    def told(*groups: GroupScore) -> list[str]:
        found = suggest(groups)
        assert found
        return reasons(found, len(groups), "en")

    varied = told(group(1, 0, 0.8), group(2, 0, 0.9, 0.3))
    assert (
        "80 %" in varied[0]
        and "90 %" in varied[0]
        and varied[1:] == [t("text.grid.stronger_same", "en", strength="1", diversity="30 %")]
    )
    later = told(group(1, 0, 0.8), group(1, 1, 0.5))
    assert later[1:] == [t("text.grid.later_alike", "en", version=t("text.grid.version", "en", epoch=2, step=8), likeness="50 %")]
    alone = told(group(1, 0, 0.8, None), group(2, 0, 0.5, None))
    assert alone == [
        t("text.grid.why_one", "en", likeness="80 %", count=2), t("text.grid.stronger_alike", "en", strength="1", likeness="50 %")
    ]  # fmt: skip


def test_nothing_or_why_not(record: GridRecord) -> None:
    assert shortlist_html(None, record.lines, "en") == ""
    nothing = shortlist_html(Scores((group(1, 0, 0.0),), "", 3), record.lines, "en")
    assert t("text.grid.nothing", "en") in nothing and "data-use" not in nothing
    failed = shortlist_html(Scores(error=EngineError("made.up", f"Gone: {BAD}").to_dict()), record.lines, "en")
    assert "Gone: &lt;img" in failed and "{{" not in failed and "<table" not in failed


def test_a_group_that_was_not_made_is_empty(record: GridRecord) -> None:
    words = shortlist_html(Scores((group(1, 0, 0.3), group(2, 1, 0.4)), "", 16), record.lines, "en")
    assert words.count("<td></td>") == 2
