"""Captions of a dataset by a tagger: what is written, what is remembered, and what becomes of work that ends early."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.config.caption import CaptionConfig
from engine.config.load import nested, validate
from engine.datasets.captioning import Captioning, caption_pictures
from engine.datasets.journal import Journal
from engine.errors import DatasetError, Interrupted
from engine.workspace import Workspace
from tests.support.onnx_taggers import ROWS, save_tagger

COLOURS = {"a.png": "red", "b.png": "blue", "c.png": "lime", "d.png": "white"}
TAGS = {
    "a.png": "red",
    "b.png": "blue, white corner, ^_^",
    "c.png": "hatsune miku, green",
    "d.png": "hatsune miku, blue, green, red, white corner, ^_^",
}
Told = list[dict[str, Any]]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "data").prepare()
    save_tagger(workspace.taggers / "channels")
    folder = workspace.root / "datasets" / "mine"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 40), colour).save(folder / name)
    return workspace


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    return workspace.root / "datasets" / "mine"


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def run(workspace: Workspace, told: Told) -> Run:
    """run(at, **settings): caption; `at` is called with each progress."""

    def run(at: Callable[[dict], None] = lambda progress: None, **settings: Any) -> dict[str, Any]:
        def tell(progress: dict[str, Any]) -> None:
            told.append(progress)
            at(progress)

        return caption_pictures(config(**settings), workspace, tell)

    return run


def config(**settings: Any) -> CaptionConfig:
    usual = {"dataset": "mine", "tagger.model": "channels", "write": "replace"}
    return validate(CaptionConfig, nested({**usual, **settings}))


def captions(folder: Path) -> dict[str, str]:
    return {file.with_suffix(".png").name: file.read_text(encoding="utf-8", errors="replace") for file in sorted(folder.glob("*.txt"))}


def loads(told: Told) -> int:
    return sum(progress["phase"] == "loading" for progress in told)


def stop_at(name: str, error: Exception) -> Callable[[dict], None]:
    def at(progress: dict) -> None:
        if progress.get("name") == name:
            raise error

    return at


STOPPED = Interrupted("job.interrupted", "Stopped.")

# ---- what is written ----


def test_every_picture_gets_its_tags_in_one_operation(run: Run, folder: Path, told: Told) -> None:
    result = run()
    assert captions(folder) == TAGS
    assert result == {
        "dataset": "mine", "dry_run": False, "skipped": [],
        "changes": [{"name": name, "before": "", "after": tags} for name, tags in TAGS.items()],
    }  # fmt: skip
    assert told[0]["total"] == 4 and (told[-1]["done"], told[-1]["total"]) == (4, 4)
    assert [progress["name"] for progress in told if "name" in progress] == list(COLOURS)
    state = Journal(folder).state()
    assert state["undo"] == "tagged" and [entry["files"] for entry in state["entries"]] == [4]
    Journal(folder).undo()
    assert captions(folder) == {}


def test_a_dry_run_shows_everything_and_writes_nothing(run: Run, folder: Path) -> None:
    (folder / "a.txt").write_text("red")
    before = sorted(folder.rglob("*"))
    result = run(dry_run=True, names=["a.png", "b.png"])
    assert sorted(folder.rglob("*")) == before
    assert [(each["before"], each["after"]) for each in result["changes"]] == [("red", "red"), ("", TAGS["b.png"])]


@pytest.mark.parametrize(
    ("write", "wanted"),
    [
        ("replace", "robo, red"),
        ("append", "robo, sitting, dog, red"),
        ("prepend", "robo, red, sitting, dog"),
        ("missing", "sitting, dog"),
    ],
)
def test_write_modes_with_a_trigger(run: Run, folder: Path, write: str, wanted: str) -> None:
    (folder / "a.txt").write_text("sitting, dog\nnote")
    result = run(write=write, trigger="robo", names=["a.png", "c.png"])
    assert captions(folder) == {"a.png": f"{wanted}\nnote", "c.png": "robo, hatsune miku, green"}
    assert [change["name"] for change in result["changes"]] == (["a.png"] if write != "missing" else []) + ["c.png"]


def test_each_concept_has_its_own_trigger_and_regularisation_none(run: Run, folder: Path) -> None:
    for name in ("hats", "people"):
        (folder / name).mkdir()
        (folder / "a.png").rename(folder / name / "a.png") if name == "hats" else (folder / "b.png").rename(
            folder / name / "b.png"
        )
    (folder / "dataset.yaml").write_text(
        "concepts:\n- {folder: .}\n- {folder: hats, trigger: fancy}\n- {folder: people, regularisation: true}\n", encoding="utf-8"
    )
    written = {change["name"]: change["after"].split(",")[0] for change in run(trigger="robo")["changes"]}
    assert written == {"c.png": "robo", "d.png": "robo", "hats/a.png": "fancy", "people/b.png": "blue"}


def test_a_caption_that_metadata_tells_is_there(run: Run, folder: Path) -> None:
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a red thing"}\n', encoding="utf-8")
    run(write="missing")
    assert "a.png" not in captions(folder)
    run(write="append", names=["a.png"])
    assert captions(folder)["a.png"] == "a red thing, red"


# ---- what is passed over ----


def test_what_cannot_be_read_is_named_and_the_rest_is_done(run: Run, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:60])
    Image.new("RGB", (4, 4)).save(folder / "a.jpg")
    (folder / "b.txt").write_bytes(b"\xff\xff\x00binary\x00\x01")
    result = run(names=[*COLOURS, "broken.png", "cut.png", "a.jpg", "gone.png", "../mine/c.png", "../../x.png"])
    assert {each["name"]: each["code"] for each in result["skipped"]} == {
        "b.png": "caption.undecodable", "broken.png": "picture.unreadable", "cut.png": "picture.unreadable", "a.jpg": "picture.same_stem",
        "gone.png": "picture.unreadable", "../mine/c.png": "path.outside", "../../x.png": "path.outside",
    }  # fmt: skip
    assert all(each["message"] for each in result["skipped"])
    assert set(captions(folder).values()) >= {"red", TAGS["c.png"], TAGS["d.png"]}
    assert (folder / "b.txt").read_bytes() == b"\xff\xff\x00binary\x00\x01"


def test_of_all_pictures_the_unreadable_ones_are_named(run: Run, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"")
    result = run()
    assert [each["name"] for each in result["skipped"]] == ["broken.png"] and captions(folder) == TAGS


def test_a_caption_changed_meanwhile_wins(run: Run, folder: Path) -> None:
    def edit(progress: dict) -> None:
        if progress["done"] == 4:
            (folder / "b.txt").write_text("by hand")

    result = run(edit)
    assert captions(folder) == {**TAGS, "b.png": "by hand"}
    assert [(each["name"], each["code"]) for each in result["skipped"]] == [("b.png", "caption.changed")]
    assert [change["name"] for change in result["changes"]] == ["a.png", "c.png", "d.png"]


def test_what_ships_is_not_written_but_may_be_tried(run: Run) -> None:
    with pytest.raises(DatasetError) as caught:
        run(dataset="practice/mascot")
    assert caught.value.code == "dataset.read_only"
    assert len(run(dataset="practice/mascot", dry_run=True)["changes"]) == 16


# ---- what is remembered ----


def test_a_picture_is_looked_at_once(run: Run, folder: Path, told: Told) -> None:
    run(dry_run=True)
    assert loads(told) == 1
    run(write="append", **{"tagger.general_threshold": 0.99, "tagger.spaces": False, "tagger.rating": True, "trigger": "robo"})
    assert loads(told) == 1 and captions(folder)["b.png"] == "robo, blue, white_corner, ^_^, safe"
    Image.new("RGB", (40, 40), "yellow").save(folder / "a.png")
    run()
    assert loads(told) == 2 and captions(folder)["a.png"] == "hatsune miku, green, red"


def test_another_tagger_looks_again(run: Run, workspace: Workspace, told: Told) -> None:
    run(dry_run=True)
    save_tagger(workspace.taggers / "channels", [("crimson" if name == "red" else name, number) for name, number in ROWS])
    assert run(dry_run=True)["changes"][0]["after"] == "crimson" and loads(told) == 2


def test_where_nothing_is_missing_no_tagger_is_loaded(run: Run, folder: Path, told: Told) -> None:
    for name in COLOURS:
        (folder / name).with_suffix(".txt").write_text("x")
    assert run(write="missing")["changes"] == [] and loads(told) == 0


def test_stopped_it_writes_what_is_done_and_goes_on_there(run: Run, workspace: Workspace, folder: Path) -> None:
    with pytest.raises(Interrupted):
        run(stop_at("c.png", STOPPED))
    assert captions(folder) == {name: TAGS[name] for name in ("a.png", "b.png")}
    seen = {file: file.stat().st_mtime_ns for file in (workspace.cache / "captions").rglob("*.json")}
    assert len(seen) == 2
    result = run()
    assert captions(folder) == TAGS and [change["name"] for change in result["changes"]] == ["c.png", "d.png"]
    assert all(file.stat().st_mtime_ns == time for file, time in seen.items())


def test_a_stopped_dry_run_writes_nothing(workspace: Workspace, folder: Path) -> None:
    work = Captioning(config(dry_run=True), workspace)
    with pytest.raises(Interrupted):
        work.look(stop_at("c.png", STOPPED))
    assert [change["name"] for change in work.write()["changes"]] == ["a.png", "b.png"] and captions(folder) == {}


def test_what_fails_writes_nothing_and_what_was_seen_stays(run: Run, workspace: Workspace, folder: Path) -> None:
    with pytest.raises(MemoryError):
        run(stop_at("c.png", MemoryError()))
    assert captions(folder) == {} and not (folder / "_history" / "journal.jsonl").exists()
    for file in list((workspace.cache / "captions").rglob("*.json"))[:1]:
        file.write_text("{", encoding="utf-8")
    run()
    assert captions(folder) == TAGS


def test_the_starter_tags_the_practice_pictures_without_pytorch(tmp_path: Path) -> None:
    script = f"""
import json, sys
from pathlib import Path
from engine.config.caption import CaptionConfig
from engine.datasets.captioning import caption_pictures
from engine.workspace import Workspace
config = CaptionConfig(dataset="practice/mascot", dry_run=True, write="replace", trigger="mofumo")
result = caption_pictures(config, Workspace(Path({str(tmp_path)!r})).prepare(), lambda progress: None)
heavy = {{"torch", "transformers", "diffusers", "onnx"}} & set(sys.modules)
print(json.dumps([sorted(heavy), [change["after"] for change in result["changes"]]]))
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    heavy, written = json.loads(told.stdout)
    assert heavy == [] and len(written) == 16
    assert all(caption.startswith("mofumo, ") and "one-eyed" in caption for caption in written)
