"""A remedy makes its finding go away, and undoing it brings every byte back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image

from engine.config.check import CheckConfig
from engine.config.dataset_file import ConceptOptions, DatasetFile
from engine.datasets.dataset_file import write_dataset_file
from engine.datasets.doctor import FINDINGS, Finding, examine
from engine.datasets.doctor.remedies import ELSEWHERE, REMEDIES, apply_remedy
from engine.datasets.journal import Journal
from engine.datasets.steps import HISTORY
from engine.errors import DatasetError
from engine.workspace import Workspace
from tests.support.labelled import shapes


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws").prepare()


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    place = workspace.root / "datasets" / "robots"
    for number in range(4):
        picture(place / f"{number}.png")
    return place


def picture(path: Path, caption: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes((96, 96), random.Random(str(path.name))).save(path)
    path.with_suffix(".txt").write_text(caption or f"robot, picture {path.stem}", encoding="utf-8")
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and HISTORY not in path.parts
    }


def found(workspace: Workspace, code: str) -> list[Finding]:
    report = examine(CheckConfig(dataset="robots", trigger="robot"), workspace, lambda done, total: None)
    return [each for each in report.findings if each.code == code]


def cured(folder: Path, workspace: Workspace, code: str) -> list[str]:
    """Apply the remedy of a code's findings: they must be gone, and come back byte for byte when it is undone and done again."""
    journal, before = Journal(folder), content(folder)
    findings, position = found(workspace, code), journal.state()["position"]
    names = apply_remedy(journal, findings)
    assert findings and not found(workspace, code)
    after, operations = content(folder), journal.state()["position"] - position
    for _ in range(operations):
        journal.undo()
    assert content(folder) == before
    for _ in range(operations):
        journal.redo()
    assert content(folder) == after != before
    return names


def test_broken_files_are_taken_out(folder: Path, workspace: Workspace) -> None:
    (folder / "0.png").write_bytes(b"")
    (folder / "1.png").write_bytes(b"")
    cured(folder, workspace, "picture.empty")
    assert (
        (folder / "_excluded" / "0.png").exists()
        and (folder / "_excluded" / "1.txt").exists()
        and not (folder / "0.png").exists()
    )


def test_of_copies_the_first_stays(folder: Path, workspace: Workspace) -> None:
    for name in ("copy.png", "z.png"):
        picture(folder / name).write_bytes((folder / "0.png").read_bytes())
    cured(folder, workspace, "picture.duplicate")
    assert (folder / "0.png").exists() and not (folder / "copy.png").exists() and not (folder / "z.png").exists()


def test_a_renamed_picture_keeps_its_caption(folder: Path, workspace: Workspace) -> None:
    (folder / "0.png").rename(folder / "0.jpg")
    assert cured(folder, workspace, "picture.wrong_extension") == ["0.png"]
    assert (folder / "0.txt").read_text(encoding="utf-8") == "robot, picture 0"


def test_a_name_that_is_taken_is_refused_and_nothing_is_done(folder: Path, workspace: Workspace) -> None:
    (folder / "0.png").rename(folder / "0.jpg")
    (folder / "1.png").rename(folder / "1.jpg")
    picture(folder / "1.png")
    before = content(folder)
    with pytest.raises(DatasetError, match=r"1\.png"):
        apply_remedy(Journal(folder), found(workspace, "picture.wrong_extension"))
    assert content(folder) == before


def test_pictures_are_converted_and_their_originals_kept(folder: Path, workspace: Workspace) -> None:
    shapes((96, 96), random.Random(9)).convert("CMYK").save(folder / "c.jpg")
    frames = [shapes((96, 96), random.Random(seed)) for seed in (10, 11)]
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    original = (folder / "c.jpg").read_bytes()
    assert cured(folder, workspace, "picture.cmyk") == ["c.png"]
    assert cured(folder, workspace, "picture.animated") == ["moving.png"]
    assert (folder / "_originals" / "c.jpg").read_bytes() == original


def test_an_animated_png_has_no_remedy_that_would_be_refused(folder: Path, workspace: Workspace) -> None:
    frames = [shapes((96, 96), random.Random(seed)) for seed in (10, 11)]
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:])
    assert [each.remedy for each in found(workspace, "picture.animated")] == [""]


def test_bars_are_cut_off(folder: Path, workspace: Workspace) -> None:
    bars = Image.new("RGB", (400, 300))
    bars.paste(shapes((400, 220), random.Random(3)), (0, 40))
    bars.save(picture(folder / "film.png"))
    assert cured(folder, workspace, "picture.bordered") == ["film.png"]
    assert Image.open(folder / "film.png").size == (400, 220)


def test_trigger_words_are_put_right(folder: Path, workspace: Workspace) -> None:
    captions = {"own/a.png": "standing", "cats/b.png": "robot on a chair, red", "any/c.png": "a robot, robots, tree, ROBOT"}
    for name, caption in captions.items():
        picture(folder / name, caption)
    concepts = [
        ConceptOptions(folder="."), ConceptOptions(folder="own"), ConceptOptions(folder="cats", trigger="cat"),
        ConceptOptions(folder="any", regularisation=True),
    ]  # fmt: skip
    write_dataset_file(folder, DatasetFile(concepts=concepts))
    for code in ("caption.no_trigger", "caption.wrong_trigger", "caption.unwanted_trigger"):
        cured(folder, workspace, code)
    texts = [(folder / name).with_suffix(".txt").read_text(encoding="utf-8") for name in captions]
    assert texts == ["robot, standing", "cat on a chair, red", "a, robots, tree"]


def test_a_caption_from_metadata_is_not_lost(folder: Path, workspace: Workspace) -> None:
    (folder / "0.txt").unlink()
    (folder / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "by the sea"}\n', encoding="utf-8")
    cured(folder, workspace, "caption.no_trigger")
    assert (folder / "0.txt").read_text(encoding="utf-8").strip() == "robot, by the sea"


def test_findings_without_a_single_step_are_refused(folder: Path, workspace: Workspace) -> None:
    (folder / "0.txt").unlink()
    (missing,) = found(workspace, "caption.missing")
    assert missing.remedy == ELSEWHERE
    for findings in ([missing], [Finding("x.y", "advice", "0.png", "It.")], []):
        with pytest.raises(DatasetError) as caught:
            apply_remedy(Journal(folder), findings)
        assert caught.value.code == "remedy.none"


def test_every_remedy_of_the_table_can_be_carried_out() -> None:
    assert {kind.remedy for kind in FINDINGS.values() if kind.remedy} == {*REMEDIES, ELSEWHERE}
