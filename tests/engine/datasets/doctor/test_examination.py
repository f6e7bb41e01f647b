"""What the doctor finds of a dataset: one test a rule, on pictures drawn for it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from engine.config.check import CheckConfig
from engine.config.dataset_file import ConceptOptions, DatasetFile
from engine.datasets.dataset_file import write_dataset_file
from engine.datasets.doctor import FINDINGS, Finding, Report, amounts, examine, last_report
from engine.datasets.doctor import look as looking
from engine.datasets.doctor.sizes import FAMILY_RESOLUTION
from engine.errors import DatasetError, Interrupted, ModelError
from engine.formats.models import MODELS
from engine.workspace import Workspace
from tests.support import labelled
from tests.support.tiny import tiny_sd1_single_file

SOURCES = Path(examine.__code__.co_filename).parent


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws").prepare()


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    place = workspace.root / "datasets" / "robots"
    place.mkdir()
    return place


def picture(path: Path, caption: str | None = "robot, a picture", seed: object = None, size: tuple[int, int] = (96, 96)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labelled.shapes(size, random.Random(seed or path.as_posix())).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def fill(folder: Path, count: int, **options: object) -> None:
    for number in range(count):
        picture(folder / f"{number}.png", f"robot, picture {number}", seed=f"{folder.name}{number}", **options)  # type: ignore[arg-type]


@pytest.fixture
def check(workspace: Workspace) -> Callable[..., Report]:
    def run(**settings: object) -> Report:
        config = CheckConfig(**{"dataset": "robots", "trigger": "robot", **settings})  # type: ignore[arg-type]
        return examine(config, workspace, lambda done, total: None)

    return run


def of(report: Report, code: str) -> list[Finding]:
    return [found for found in report.findings if found.code == code]


def only(report: Report, code: str) -> Finding:
    (found,) = of(report, code)
    return found


def codes(report: Report) -> set[str]:
    return {found.code for found in report.findings}


# ---- verdict ----


def test_the_practice_dataset_is_ready(workspace: Workspace) -> None:
    report = examine(CheckConfig(dataset="practice/mascot"), workspace, lambda done, total: None)
    assert (report.verdict, report.findings) == ("ready", [])
    assert report.facts["pictures"] == 16 and report.facts["captions"] == {"file": 16} and report.facts["views_per_epoch"] == 160
    assert "16 pictures" in report.why


def test_an_ordinary_dataset_is_ready(folder: Path, check) -> None:
    fill(folder, 16)
    assert check().findings == []


def test_the_verdict_follows_the_gravest_finding() -> None:
    advice, warning, error = (Finding("x.y", severity, "", "It.") for severity in ("advice", "warning", "error"))
    blocking = Finding("dataset.no_pictures", "error", "", "There is none.")
    assert Report([]).verdict == Report([advice]).verdict == "ready"
    assert Report([advice, warning]).verdict == Report([error]).verdict == "fix_first"
    assert Report([advice, blocking]).verdict == "must_not" and Report([blocking]).why == "There is none."
    assert Report([warning, warning, error]).why.endswith("1 error and 2 warnings.")


def test_a_report_survives_being_written_down(folder: Path, check) -> None:
    fill(folder, 3)
    (folder / "empty.png").touch()
    report = check()
    assert Report.from_dict(report.to_dict()) == report and report.to_dict()["verdict"] == report.verdict


def test_the_gravest_comes_first(folder: Path, check) -> None:
    fill(folder, 3)
    (folder / "0.txt").write_text("no word", encoding="utf-8")
    (folder / "empty.png").touch()
    severities = [found.severity for found in check().findings]
    assert severities == sorted(severities, key=["error", "warning", "advice"].index) and len(set(severities)) == 3


def test_every_code_that_is_used_is_in_the_table() -> None:
    used = {
        code
        for file in SOURCES.glob("*.py")
        for code in re.findall(r'finding\(\s*"(\w+\.\w+)"', file.read_text(encoding="utf-8"))
    }
    assert len(used) > 20 and used <= set(FINDINGS)


def test_what_cannot_be_examined_is_refused(folder: Path, check) -> None:
    with pytest.raises(ModelError):
        check(model="nix.safetensors")
    with pytest.raises(DatasetError, match="not a folder"):
        (folder.parent / "file").touch()
        check(dataset=str(folder.parent / "file"))


def test_a_broken_description_of_the_dataset_is_a_finding(folder: Path, check) -> None:
    fill(folder, 3)
    (folder / "dataset.yaml").write_text("kind: nonsense", encoding="utf-8")
    report = check()
    assert report.verdict == "must_not" and codes(report) == {"dataset.file"}


# ---- sizes ----


@pytest.mark.parametrize(("side", "factor"), [(64, None), (52, None), (40, "1.6"), (16, "4.0")])
def test_a_picture_that_must_be_enlarged_says_how_much(folder: Path, check, side: int, factor: str | None) -> None:
    fill(folder, 15)
    picture(folder / "a.png", size=(side, side))
    found = of(check(resolution=64), "picture.too_small")
    assert [(each.file, each.values["factor"]) for each in found] == ([("a.png", factor)] if factor else [])
    assert not of(check(resolution=64, no_upscale=True), "picture.too_small")


def test_a_picture_that_fits_no_bucket_must_go(folder: Path, check) -> None:
    fill(folder, 15)
    picture(folder / "a.png", size=(400, 10))
    report = check(no_upscale=True)
    assert report.verdict == "must_not" and only(report, "bucket.picture_too_small").file == "a.png"


@pytest.mark.parametrize(("size", "extreme"), [((192, 64), False), ((200, 64), True), ((64, 640), True)])
def test_very_long_pictures_say_what_is_cut_off(folder: Path, check, size: tuple[int, int], extreme: bool) -> None:
    fill(folder, 15)
    picture(folder / "a.png", size=size)
    found = of(check(resolution=64), "picture.extreme_aspect")
    assert bool(found) == extreme
    if size[1] == 640:  # buckets of 64 px end at 32 x 128: of 32 x 320 px 60 % are cut
        assert found[0].values["cut"] == "60" and found[0].values["aspect"] == "10.0"


def test_buckets_that_cannot_fill_a_batch_are_named(folder: Path, check) -> None:
    fill(folder, 14)
    for name in "ab":
        picture(folder / f"{name}.png", size=(192, 96))
    assert not of(check(batch_size=2), "bucket.small")
    found = only(check(batch_size=3), "bucket.small")
    assert {found.file, *found.also} == {"a.png", "b.png"} and found.values["pictures"] == "2"
    assert not of(check(batch_size=3, enable_buckets=False), "bucket.small")


def test_buckets_that_contradict_each_other_block(folder: Path, check) -> None:
    fill(folder, 15)
    report = check(bucket_min=128)
    assert report.verdict == "must_not" and report.findings[0].code == "bucket.below_minimum"


def test_every_family_has_its_advice() -> None:
    assert set(FAMILY_RESOLUTION) == set(MODELS)
    assert set(amounts.TRANSFORMERS) < set(MODELS)


# ---- contents ----


def test_a_blurred_picture_is_found(folder: Path, check) -> None:
    fill(folder, 15)
    labelled.shapes((512, 512), random.Random(1)).filter(ImageFilter.GaussianBlur(5)).save(picture(folder / "soft.png"))
    assert only(check(), "picture.blurred").file == "soft.png"


def test_text_and_bars_are_found_and_the_box_is_inside_the_bars(folder: Path, check) -> None:
    fill(folder, 15)
    labelled.page((400, 400), random.Random(2)).save(picture(folder / "page.png"))
    bars = Image.new("RGB", (1200, 900))
    bars.paste(labelled.foliage((1200, 700), random.Random(3)), (0, 100))
    bars.save(picture(folder / "film.png"))
    report = check()
    assert only(report, "picture.text").file == "page.png"
    found = only(report, "picture.bordered")
    left, top, right, bottom = map(int, found.values["box"].split(","))
    assert found.file == "film.png" and (left, right) == (0, 1200) and 100 <= top <= 106 and 794 <= bottom <= 800


# ---- duplicates ----


def test_copies_are_grouped_once_whatever_they_are_called(folder: Path, check) -> None:
    fill(folder, 14)
    for name in ("1 copy.png", "z/unused.png", "_excluded/0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "0.png").read_bytes())
    (folder / "1 copy.txt").write_text("robot, again", encoding="utf-8")
    found = only(check(), "picture.duplicate")
    assert (found.file, found.also, found.remedy) == ("0.png", ("1 copy.png",), "keep_first")
    assert not of(check(), "picture.near_duplicate")


def test_of_pictures_that_look_alike_the_largest_is_kept(folder: Path, check) -> None:
    fill(folder, 13)
    large = Image.open(picture(folder / "large.png", size=(300, 300))).convert("RGB")
    large.resize((150, 150)).save(picture(folder / "a small.png"))
    large.save(picture(folder / "b.jpg"), quality=60)
    found = only(check(), "picture.near_duplicate")
    assert found.file == "b.jpg" and set(found.also) == {"a small.png", "large.png"}  # of equals the first by name


# ---- captions ----


def test_the_trigger_word_is_looked_for_as_a_word(folder: Path, check) -> None:
    fill(folder, 15)
    (folder / "3.txt").write_text("robots in a row", encoding="utf-8")
    (folder / "4.txt").write_text("a ROBOT", encoding="utf-8")
    found = only(check(), "caption.no_trigger")
    assert (found.file, found.values, found.remedy) == ("3.png", {"trigger": "robot"}, "add_trigger")
    assert len(of(check(trigger="mofumo"), "caption.no_trigger")) == 15


def test_each_concept_has_its_own_word_and_regularisation_none(folder: Path, check) -> None:
    for name in ("cats", "dogs", "any"):
        fill(folder / name, 8)
        for number in range(8):
            (folder / name / f"{number}.txt").write_text(f"{name[:-1]}, {name} {number}", encoding="utf-8")
    (folder / "cats" / "1.txt").write_text("dog, on a chair", encoding="utf-8")
    (folder / "cats" / "2.txt").write_text("cat and dog", encoding="utf-8")  # two on one picture
    (folder / "any" / "3.txt").write_text("a dog", encoding="utf-8")
    concepts = [
        ConceptOptions(folder="cats", trigger="cat"),
        ConceptOptions(folder="dogs"),
        ConceptOptions(folder="any", regularisation=True),
    ]
    write_dataset_file(folder, DatasetFile(trigger="dog", concepts=concepts))
    report = check(trigger="")
    wrong, unwanted = only(report, "caption.wrong_trigger"), only(report, "caption.unwanted_trigger")
    assert (wrong.file, wrong.values) == ("cats/1.png", {"trigger": "cat", "other": "dog"})
    assert (unwanted.file, unwanted.values) == ("any/3.png", {"other": "dog"})
    assert not of(report, "caption.no_trigger") and not of(report, "dataset.needless_regularisation")


def test_without_any_word_one_is_asked_for_except_for_a_style(folder: Path, check) -> None:
    fill(folder, 15)
    assert of(check(trigger=""), "dataset.no_trigger") and not of(check(trigger="", kind="style"), "dataset.no_trigger")
    write_dataset_file(folder, DatasetFile(trigger="robot"))
    assert not of(check(trigger=""), "dataset.no_trigger")
    fill(folder.parent / "kohya" / "10_robot", 15)
    assert not of(check(trigger="", dataset="kohya"), "dataset.no_trigger")


@pytest.mark.parametrize(("words", "passed"), [(73, None), (74, "75"), (148, "75"), (149, "150"), (224, "225")])
def test_long_captions_are_counted_in_the_tokens_of_the_model(folder: Path, check, words: int, passed: str | None) -> None:
    fill(folder, 15)
    (folder / "0.txt").write_text("robot," + " red" * words, encoding="utf-8")
    found = of(check(), "caption.long")
    assert [(each.file, each.values["tokens"], each.values["passed"]) for each in found] == (
        [("0.png", str(words + 2), passed)] if passed else []
    )


def test_captions_that_are_all_the_same_are_pointed_out(folder: Path, check) -> None:
    fill(folder, 15)
    for number in range(15):
        (folder / f"{number}.txt").write_text("robot, standing" if number % 2 else "standing, Robot", encoding="utf-8")
    found = only(check(), "caption.identical")
    assert len(found.also) == 14 and found.remedy == "caption"
    (folder / "0.txt").write_text("robot, sitting", encoding="utf-8")
    assert not of(check(), "caption.identical")


# ---- amounts ----


@pytest.mark.parametrize(
    ("kind", "count", "expected"),
    [
        ("pose", 10, None),
        ("pose", 9, "dataset.few"),
        ("pose", 4, "dataset.very_few"),
        ("pose", 21, "dataset.many"),
        ("style", 12, "dataset.few"),
    ],
)
def test_too_few_and_too_many_for_the_kind(folder: Path, check, kind: str, count: int, expected: str | None) -> None:
    fill(folder, count)
    amount = codes(check(kind=kind)) & {"dataset.few", "dataset.very_few", "dataset.many"}
    assert amount == ({expected} if expected else set())


def test_a_single_picture_is_one_finding(folder: Path, check) -> None:
    fill(folder, 1)
    assert codes(check()) == {"dataset.one_picture"}


def test_transformers_want_more_pictures_of_a_character() -> None:
    assert amounts.recommended("character", "sdxl") == (15, 30)
    assert amounts.recommended("character", "flux") == (30, 100)
    assert amounts.recommended("style", "flux") == (20, 40)


def test_regularisation_without_a_word_to_protect_is_needless(folder: Path, check) -> None:
    fill(folder / "own", 15)
    fill(folder / "any", 5)
    write_dataset_file(
        folder, DatasetFile(concepts=[ConceptOptions(folder="own"), ConceptOptions(folder="any", regularisation=True)])
    )
    assert only(check(kind="style"), "dataset.needless_regularisation").values["count"] == "5"
    assert not of(check(), "dataset.needless_regularisation")


# ---- work that is done once ----


def test_a_second_check_reads_only_what_changed(folder: Path, check, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder, 6)
    first, read = check(), []
    real = looking.look_at
    monkeypatch.setattr(looking, "look_at", lambda path: read.append(path.name) or real(path))
    assert check() == first and read == []
    picture(folder / "2.png", seed="other")
    check()
    assert read == ["2.png"]


def test_a_check_that_was_stopped_goes_on_where_it_was(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder, 6)
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 4:
            raise Interrupted("job.interrupted", "Stopped.")

    with pytest.raises(Interrupted):
        examine(CheckConfig(dataset="robots"), workspace, stop)
    assert seen[0] == (0, 6) and last_report(folder, workspace) is None
    read, real = [], looking.look_at
    monkeypatch.setattr(looking, "look_at", lambda path: read.append(path.name) or real(path))
    examine(CheckConfig(dataset="robots"), workspace, lambda done, total: None)
    assert read == ["4.png", "5.png"]


def test_the_last_report_is_kept_and_knows_what_changed_since(folder: Path, workspace: Workspace, check) -> None:
    fill(folder, 6)
    assert last_report(folder, workspace) is None
    report = check(batch_size=2)
    kept = last_report(folder, workspace)
    assert kept and kept.report == report and kept.config.batch_size == 2 and kept.changed == []
    (folder / "1.txt").write_text("robot, otherwise", encoding="utf-8")
    (folder / "2.png").unlink()
    picture(folder / "10.png")
    kept = last_report(folder, workspace)
    assert kept and kept.changed == ["1.png", "2.png", "10.png"]
    next((workspace.cache / "checks").iterdir()).write_text("{}", encoding="utf-8")
    assert last_report(folder, workspace) is None


def test_what_was_found_on_changed_pictures_no_longer_stands(folder: Path, workspace: Workspace, check) -> None:
    fill(folder, 3)
    for name in ("8.png", "9.png"):
        (folder / name).touch()
    check()
    picture(folder / "8.png")
    kept = last_report(folder, workspace)
    assert kept and [found.file for found in kept.standing.findings if found.code == "picture.empty"] == ["9.png"]
    assert len(of(kept.report, "picture.empty")) == 2


def test_the_resolution_is_judged_by_the_family(workspace: Workspace, folder: Path, check) -> None:
    fill(folder, 15)
    tiny_sd1_single_file(workspace.root / "models" / "checkpoints" / "tiny.safetensors")
    low = of(check(model="tiny", resolution=256), "dataset.low_resolution")
    assert [each.values["low"] for each in low] == ["512"]
    assert of(check(model="tiny", resolution=1536), "dataset.high_resolution") and not of(
        check(model="tiny", resolution=512), "dataset.low_resolution"
    )
    assert not of(check(resolution=64), "dataset.low_resolution")  # the starter
