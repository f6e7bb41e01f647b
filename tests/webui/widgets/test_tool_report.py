from __future__ import annotations

import re

import pytest

from engine.config.tools import TOOLS
from engine.jobs.job import Job
from webui.i18n import LANGUAGES, t
from webui.widgets.tool_bench import made_adapter
from webui.widgets.tool_report import facts, job_html, report_html, share, tool_name

BUILT = {
    "modules": 192, "whole": 0, "rank_lowest": 4, "rank_highest": 16, "error_mean": 0.0, "error_max": 0.0123, "worst": "mid",
    "parameters": 12345,
}  # fmt: skip


def job(**values) -> Job:
    data = {
        "id": "1", "kind": "tool", "name": "a", "state": "done", "config": {"tool": {"kind": "merge"}}, "folder": None, "error": None,
        "result": None, "request": None, "created": 0.0, "started": 0.0, "finished": None, "attempt": 1, "progress": None,
        "worker": None,
    }  # fmt: skip
    return Job(**{**data, **values})


def test_numbers_are_told_and_what_is_none_is_not() -> None:
    assert facts(BUILT, "en") == {
        "modules": "192", "rank": "4–16", "error_mean": "0 %", "error_max": "1.2 %", "worst": "mid", "parameters": "12,345",
    }  # fmt: skip
    cut = {**BUILT, "rank_lowest_before": 32, "rank_highest_before": 32}
    assert facts(cut, "en")["rank_before"] == "32"
    assert facts({"embeddings": {"me": 4}}, "en") == {"embeddings": "me (4)"}
    assert facts({"changed": ["trigger", "cover"]}, "ja")["changed"] == "トリガーワード (trigger), 表紙の画像"
    assert facts({"files": [{"file": "a", "matched": 1, "total": 2}]}, "en")["matched"] == "a: 1 / 2"


@pytest.mark.parametrize(("error", "words"), [(0, "0 %"), (1e-7, "1e-05 %"), (0.5, "50 %"), (float("inf"), "∞")])
def test_errors_are_percentages(error: float, words: str) -> None:
    assert share(error) == words


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_shows_the_file_and_the_blocks(language: str) -> None:
    shown = report_html(
        {"file": "a.safetensors", "report": {**BUILT, "blocks": {"mid": {"size": 2.5, "relative": 0.1}}}}, language
    )
    assert t("text.tool.saved", language, file="a.safetensors") in shown
    assert 'class="bars"' in shown and "2.5" in shown


def test_broken_and_lost_names_are_listed() -> None:
    shown = report_html({"file": "", "report": {"broken": 2, "not_finite": ["x", "y"]}}, "en")
    assert len(re.findall("<li>", shown)) == 2 and "2)" in shown
    whole = report_html({"file": "", "report": {"not_finite": [], "modules": 3, "norms": {}, "blocks": {}}}, "en")
    assert t("text.report.all_finite", "en") in whole


def test_progress_and_failure() -> None:
    assert 'aria-valuenow="50.0"' in job_html(job(state="running", progress={"phase": "merge", "done": 1, "total": 2}), "en")
    assert 'role="alert"' in job_html(job(state="failed", error={"code": "x", "what": "No."}), "en")


def test_what_a_job_made() -> None:
    assert made_adapter(job(result={"file": "b.safetensors", "report": {}})) == "b"
    assert made_adapter(job(result={"file": "", "report": {}})) == ""
    assert made_adapter(job(config={"tool": {"kind": "bake"}}, result={"file": "b.safetensors"})) == "", (
        "a base model, no adapter"
    )
    assert made_adapter(job(state="failed")) == ""


@pytest.mark.parametrize("kind", TOOLS)
def test_every_tool_has_a_name(kind: str) -> None:
    assert tool_name(job(config={"tool": {"kind": kind}}), "ja") != kind
