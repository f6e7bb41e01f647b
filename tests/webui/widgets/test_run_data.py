from __future__ import annotations

from pathlib import Path

import pytest

from engine.datasets.content import CONTENT, Changes, content, write_content
from engine.datasets.scan import scan
from engine.jobs.job import Job
from engine.workspace import Workspace
from tests.support.pictures import make_photos
from webui.widgets import run_data
from webui.widgets.run_data import changes_words, data_html


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path).prepare()
    make_photos(tmp_path / "datasets" / "pets", 2, seed=1)
    (workspace.runs / "r1").mkdir()
    write_content(content(scan(tmp_path / "datasets" / "pets")), workspace.runs / "r1")
    run_data._changes.cache_clear()
    return workspace


def job(state: str = "done") -> Job:
    return Job(
        id="1", kind="train", name="pets", state=state, config={"dataset": {"folder": "pets"}}, folder="runs/r1", error=None,
        result=None, request=None, created=0.0, started=0.0, finished=None, attempt=1, progress=None, worker=None,
    )  # type: ignore[arg-type]  # fmt: skip


def test_a_run_says_whether_its_data_is_still_the_same(workspace):
    assert "unchanged" in data_html(job(), workspace, "en")
    (workspace.root / "datasets" / "pets" / "picture 1.txt").write_text("another", encoding="utf-8")
    run_data._changes.cache_clear()
    assert "The data has changed since: changed captions: 1." in data_html(job("paused"), workspace, "en")
    assert data_html(job("running"), workspace, "en") == ""


def test_data_or_a_record_that_has_gone_is_told(workspace):
    (workspace.runs / "r1" / CONTENT).write_text("{", encoding="utf-8")
    assert "content.json" in data_html(job(), workspace, "ja")
    (workspace.runs / "r1" / CONTENT).unlink()
    assert data_html(job(), workspace, "en") == ""


def test_a_folder_that_has_gone_is_told(workspace):
    (workspace.root / "datasets" / "pets").rename(workspace.root / "datasets" / "cats")
    assert "pets" in data_html(job(), workspace, "en") or "no longer" in data_html(job(), workspace, "en")


def test_changes_are_counted_by_what_they_are():
    changes = Changes(("a.png", "sub/b.webp"), ("c.txt",), ("d.caption", "dataset.yaml"))
    assert changes_words(changes, "en") == (
        "The data has changed since: new pictures: 2, changed captions: 1, changed descriptions: 1, missing captions: 1."
    )
    assert "増えた画像 2 枚、変わったキャプション 1 件" in changes_words(changes, "ja")
