"""What a suggestion leaves behind: a note beside the file, and a version in the LoRA folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import AdapterError
from engine.grid.outcome import keep_version, note_suggestion
from engine.grid.suggest import GroupScore
from engine.grid.versions import Run, Version
from engine.sidecars import read_sidecar
from engine.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


@pytest.fixture
def run(workspace: Workspace) -> Run:
    inside, final = workspace.runs / "run" / "checkpoints" / "gull-step00000010.safetensors", workspace.loras / "gull.safetensors"
    inside.parent.mkdir(parents=True)
    for file, content in ((inside, b"first"), (final, b"last")):
        file.write_bytes(content)
    return Run("gull", (Version(1, 10, inside), Version(2, 20, final, shared=True)))


def groups(run: Run, *totals: float) -> list[GroupScore]:
    """The totals of each version at strengths 0.5 and 1 in turn."""
    wanted = [(version, strength) for version in run.versions for strength in (0.5, 1.0)]
    return [
        GroupScore({}, version.file.stem, version.step, version.label, strength, strength, 2, total, 0.9, total)
        for (version, strength), total in zip(wanted, totals, strict=True)
    ]


def test_the_finished_file_is_told_its_own_strength(run: Run) -> None:
    place = run.versions[1].file.with_suffix(".json")
    place.write_text('{"activation text": "gull", "strange": [1]}')
    assert note_suggestion(groups(run, 0.2, 0.9, 0.7, 0.4), run) == [place]
    told = read_sidecar(run.versions[1].file)
    assert (told.suggested_weight, told.suggested_epoch, told.activation) == (0.5, "2", "gull")
    assert told.why == "likeness 0.70, diversity 0.90; epoch 1 / step 10 at 1 scored higher"
    assert json.loads(place.read_text())["strange"] == [1]


def test_nothing_is_written_that_was_not_found_out(run: Run) -> None:
    one_strength = [group for group in groups(run, 0.2, 0.9, 0.7, 0.4) if group.unet == 1]
    assert note_suggestion(one_strength, run) == [] and note_suggestion(groups(run, 0.5, 0.9, 0, 0), run) == []
    assert not run.versions[1].file.with_suffix(".json").exists()


def test_a_version_is_kept_once_under_a_free_name(run: Run, workspace: Workspace) -> None:
    first, last = run.versions
    scores = groups(run, 0.2, 0.9, 0.7, 0.4)
    assert keep_version(last, scores, workspace) == "gull"
    assert keep_version(first, scores, workspace) == keep_version(first, scores, workspace) == "gull-step00000010"
    kept = workspace.loras / "gull-step00000010.safetensors"
    assert kept.read_bytes() == b"first" and read_sidecar(kept).suggested_weight == 1
    kept.write_bytes(b"another")
    assert keep_version(first, scores, workspace) == "gull-step00000010-v2" and kept.read_bytes() == b"another"
    first.file.unlink()
    with pytest.raises(AdapterError, match="epoch 1"):
        keep_version(first, scores, workspace)
