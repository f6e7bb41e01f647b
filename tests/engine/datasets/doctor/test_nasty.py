"""What breaks trainers is found for what it is, one finding a fault, and the examination always ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from engine.config.check import CheckConfig
from engine.datasets.doctor import Report, examine
from engine.datasets.doctor.finding import FINDINGS
from engine.workspace import Workspace
from tests.support.nasty import PICTURES, make_nasty_captions, make_nasty_pictures

ABOUT_SEVERAL = {"picture.near_duplicate", "picture.duplicate", "bucket.small"}


def codes_by_file(report: Report) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in report.findings:
        if each.file and each.code not in ABOUT_SEVERAL:
            found.setdefault(each.file, set()).add(each.code)
    return found


def check(folder: Path, workspace: Workspace) -> Report:
    return examine(CheckConfig(dataset=str(folder), trigger="robot"), workspace, lambda done, total: None)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws").prepare()


@pytest.mark.parametrize("make", [make_nasty_pictures, make_nasty_captions])
def test_every_nasty_file_gets_exactly_its_findings(make, workspace: Workspace) -> None:
    folder = workspace.root / "datasets" / "nasty"
    expected = {name: codes for name, codes in make(folder).items() if codes}
    report = check(folder, workspace)
    assert codes_by_file(report) == expected
    assert report.verdict == "fix_first"
    for each in report.findings:
        assert each.message and each.severity == FINDINGS[each.code].severity
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


def test_the_one_signpost_that_is_stored_in_many_ways_is_recognised(workspace: Workspace) -> None:
    folder = workspace.root / "datasets" / "nasty"
    make_nasty_pictures(folder)
    (group,) = (each for each in check(folder, workspace).findings if each.code == "picture.near_duplicate")
    assert {group.file, *group.also} == {"cmyk.jpg", "grey.jpg", "icc.jpg", "broken_icc.jpg", "really_a_png.jpg"}


def test_a_folder_of_broken_pictures_must_not_be_trained_on_and_each_is_named(workspace: Workspace) -> None:
    folder = workspace.root / "datasets" / "nasty"
    make_nasty_pictures(folder)
    unusable = {
        name
        for name, codes in PICTURES.items()
        if codes & {"picture.damaged", "picture.empty", "picture.unreadable", "picture.too_large"}
    }
    for name in PICTURES.keys() - unusable:
        (folder / name).unlink()
    report = check(folder, workspace)
    assert report.verdict == "must_not" and report.findings[0].code == "dataset.nothing_left"
    assert set(codes_by_file(report)) == unusable
    (folder / "truncated.jpg").unlink()
    report = check(folder, workspace)
    assert report.verdict == "must_not" and report.findings[0].code == "dataset.no_pictures"
    assert set(codes_by_file(report)) == unusable - {"truncated.jpg"}


PROGRAM = """
import resource, sys
from engine.config.check import CheckConfig
from engine.datasets.doctor import examine
from engine.workspace import Workspace
from pathlib import Path
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
examine(CheckConfig(dataset="small"), Workspace(Path(sys.argv[1])), lambda *_: None)
before = used()
examine(CheckConfig(dataset="large"), Workspace(Path(sys.argv[1])), lambda *_: None)
print(used() - before, *(name for name in ("torch", "transformers", "gradio") if name in sys.modules))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_memory_is_that_of_two_pictures_and_nothing_heavy_is_loaded(workspace: Workspace) -> None:
    for name, side in (("small", 300), ("large", 5000)):
        (workspace.root / "datasets" / name).mkdir()
        Image.linear_gradient("L").resize((side, side)).convert("RGB").save(
            workspace.root / "datasets" / name / "a.png", compress_level=1
        )
    told = subprocess.run([sys.executable, "-c", PROGRAM, str(workspace.root)], capture_output=True, text=True, check=True)
    more, *heavy = told.stdout.split()
    assert heavy == []
    assert int(more) < (2 * 5000 * 5000 * 4 >> 20)  # MiB; Pillow keeps RGB in four bytes
