"""Captions as jobs, and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.__main__ import main
from engine.config.caption import CaptionConfig
from engine.config.load import nested, validate
from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.desk import Desk
from engine.jobs.job import Job
from engine.jobs.worker import Worker
from engine.workspace import Workspace
from tests.engine.jobs.test_worker import work_all
from tests.support.onnx_taggers import save_tagger

NAMES = ["a.png", "b.png", "c.png"]


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    save_tagger(workspace.taggers / "channels")
    folder = workspace.root / "datasets" / "mine"
    folder.mkdir()
    for name, colour in zip(NAMES, ("red", "blue", "lime"), strict=True):
        Image.new("RGB", (20, 20), colour).save(folder / name)
    return folder


def start(workspace: Workspace, **settings: Any) -> Job:
    usual = {"dataset": "mine", "tagger.model": "channels"}
    return actions.start_captioning(validate(CaptionConfig, nested({**usual, **settings})), workspace)


def work(desk: Desk) -> None:
    work_all(Worker(desk, "files"))


def test_tags_are_a_light_job_and_sentences_one_of_the_device(desk: Desk, workspace: Workspace, folder: Path) -> None:
    tags, sentences = start(workspace), start(workspace, **{"tagger.kind": "blip", "tagger.model": "a/b"})
    assert (tags.kind, sentences.kind) == ("tag", "caption")
    work(desk)
    done = desk.store.get(tags.id)
    assert done.state == "done" and done.result and [change["name"] for change in done.result["changes"]] == NAMES
    assert (folder / "a.txt").read_text() == "red" and desk.store.get(sentences.id).state == "queued"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"tagger.model": "nobody"}, "tagger.not_found"),
        ({"tagger.kind": "blip"}, "tagger.wrong_kind"),
        ({"dataset": "nowhere"}, "dataset.not_a_folder"),
        ({"dataset": "nowhere", "dry_run": True}, "dataset.not_a_folder"),
        ({"dataset": "practice/mascot"}, "dataset.read_only"),
    ],
)
def test_what_cannot_be_done_is_not_queued(workspace: Workspace, folder: Path, desk: Desk, settings: dict, code: str) -> None:
    with pytest.raises(EngineError) as caught:
        start(workspace, **settings)
    assert caught.value.code == code and desk.store.list() == []


def test_cancelled_it_keeps_what_is_done(desk: Desk, workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.jobs.desk.TELL_EVERY", 0.0)
    job = start(workspace)
    desk.tell = lambda job, progress: actions.cancel(job, workspace) and None if progress.get("done") == 1 else None
    work(desk)
    ended = desk.store.get(job.id)
    assert ended.state == "cancelled" and ended.result and [change["name"] for change in ended.result["changes"]] == NAMES[:1]
    assert [file.name for file in folder.glob("*.txt")] == ["a.txt"]


def test_asked_to_end_the_process_gives_it_back_unwritten(
    desk: Desk, workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.jobs.desk.TELL_EVERY", 0.0)
    job = start(workspace)
    desk.tell = lambda job, progress: desk.mailbox.stop() if progress.get("done") == 1 else None
    worker = Worker(desk, "files")
    claimed = worker.claim()
    assert claimed
    worker.work(claimed)
    assert desk.store.get(job.id).state == "queued" and list(folder.glob("*.txt")) == []


def test_the_command_line_writes_captions(workspace: Workspace, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--data-dir", str(workspace.root)]
    given = ["dataset", "caption", "mine", "--tagger", "channels", "--trigger", "robo", *place]
    assert main([*given, "--dry-run", "--json"]) == 0
    told = capsys.readouterr().out
    result = json.loads(told[told.index("{") :])
    assert result["dry_run"] and result["changes"][0]["after"] == "robo, red" and list(folder.glob("*.txt")) == []
    assert main([*given, "--set", "tagger.general_threshold=0.5", "--write", "replace"]) == 0
    assert "3 captions were written" in capsys.readouterr().out and (folder / "a.txt").read_text() == "robo, red"
    assert main(["dataset", "caption", "mine", "--tagger", "nobody", *place]) == 2
    assert "tagger.model: There is no tagger 'nobody'" in capsys.readouterr().err
    assert main([*given, "--set", "tagger.threshold=1"]) == 2
    assert "tagger.threshold" in capsys.readouterr().err
