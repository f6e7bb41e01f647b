"""Downloads as HTML: what people read of a job's row."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from engine.downloads.place import ThingKind
from engine.errors import DownloadError
from engine.jobs.job import STATES, Job
from webui.i18n import LANGUAGES, t, table
from webui.widgets.download_view import downloads_html, plan_words

PLAN = {"kind": "folder", "family": "sdxl", "name": "x", "bytes": 6_938_000_000, "files": 18}
JOB = Job(
    "20261124-061500-ab12", "download", "owner/name", "running", {"source": "owner/name"}, None, None, None, None, 0.0, 0.0, None, 1,
    {"phase": "downloading", "done": 1_500_000_000, "total": 6_938_000_000, "speed": 34e6, "seconds_left": 160.0, "plan": PLAN}, "w",
)  # fmt: skip


def test_what_will_come_and_how_far_it_is() -> None:
    html = downloads_html([JOB], "en")
    for words in (
        "owner/name",
        "SDXL model · 6.9 GB · 18 files",
        "1.5 GB of 6.9 GB",
        "34.0 MB/s",
        "about 3 min left",
        "width: 21.6%",
    ):
        assert words in html, words
    assert 'data-verb="stop" data-job="20261124-061500-ab12"' in html


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_state_kind_and_phase_has_words(code: str) -> None:
    for state in STATES:
        assert t(f"text.down.state.{state}", code) in downloads_html([replace(JOB, state=state)], code)
    for kind in ("folder", *get_args(ThingKind)):
        assert t(f"text.down.use.{kind}", code) and plan_words({**PLAN, "kind": kind}, code)
    for phase in ("looking", "checking", "downloading", "reconnecting"):
        assert table(code)[f"text.down.phase.{phase}"]
        assert downloads_html([replace(JOB, progress={"phase": phase})], code)


def test_done_says_where_it_is_and_what_to_do() -> None:
    done = replace(JOB, state="done", result={**PLAN, "file": "models/checkpoints/x", "already": False})
    assert "Saved: models/checkpoints/x" in downloads_html([done], "en")
    assert "lists of base models" in downloads_html([done], "en")
    there = replace(done, result={**PLAN, "file": "models/checkpoints/x", "already": True})
    assert "there already" in downloads_html([there], "en")


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_gated_model_links_to_its_page_and_to_where_tokens_are_made(code: str) -> None:
    error = DownloadError("download.gated", "no", page="https://huggingface.co/owner/name", name="owner/name")
    html = downloads_html([replace(JOB, state="failed", error=error.to_dict())], code)
    for address in ("https://huggingface.co/owner/name", "https://huggingface.co/settings/tokens"):
        assert f'href="{address}" target="_blank" rel="noopener noreferrer"' in html
    assert 'data-verb="again"' in html


def test_nothing_a_stranger_wrote_becomes_markup() -> None:
    evil = "<img src=x onerror=alert(1)>${x}"
    error = DownloadError("download.gated", evil, page="javascript:alert(1)", name=evil)
    plan = {**PLAN, "family": evil}
    jobs = [
        replace(JOB, name=evil, progress={**(JOB.progress or {}), "phase": evil, "plan": plan}),
        replace(JOB, state="failed", error=error.to_dict()),
        replace(JOB, state="done", result={**plan, "file": evil}),
    ]
    html = downloads_html(jobs, "en")
    assert "<img" not in html and "${" not in html and "javascript:" not in html
