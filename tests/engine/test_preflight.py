"""A run as planned, without loading a model, and every reason for which it cannot start, said at its field."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from engine.config.load import nested, validate
from engine.config.train import TrainConfig
from engine.errors import EngineError
from engine.fitting import DeviceProfile, write_profile
from engine.model_facts import STARTER_FOLDER, model_facts
from engine.preflight import Preflight, preflight
from engine.workspace import Workspace
from tests.support.pictures import make_photos

STARTER = model_facts(STARTER_FOLDER)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("data")).prepare()
    make_photos(workspace.root / "datasets" / "mixed", 6, seed=1, trigger="robot")
    return workspace


def config(**settings) -> TrainConfig:
    start = {"output.name": "mine", "dataset.folder": "mixed", "dataset.trigger": "robot"}
    return validate(TrainConfig, nested(start | {name.replace("__", "."): value for name, value in settings.items()}))


def planned(workspace: Workspace, **settings) -> Preflight:
    return preflight(config(**settings), workspace)


def codes(ahead: Preflight) -> set[str]:
    return {notice.code for notice in ahead.notices}


def test_the_practice_run(workspace: Workspace) -> None:
    ahead = planned(workspace, dataset__folder="practice/mascot", dataset__trigger="mofumo", output__name="my mascot")
    assert ahead.model.practice and ahead.plan.resolution == ahead.model.resolution
    assert ahead.plan.pictures == len(ahead.dataset.pictures) == len(ahead.fits) == 16
    assert ahead.buckets == {(STARTER.resolution, STARTER.resolution): 16}
    assert ahead.plan.views_per_epoch == 160 and ahead.plan.steps > 0  # its folder says ten repeats
    assert codes(ahead) == set()


def test_pictures_of_several_shapes(workspace: Workspace) -> None:
    ahead = planned(workspace, dataset__repeats=3, training__batch_size=2)
    assert sum(ahead.buckets.values()) == 6 and len(ahead.buckets) > 1
    assert list(ahead.buckets) == sorted(ahead.buckets)
    for width, height in ahead.buckets:
        assert width % STARTER.step == height % STARTER.step == 0 and width * height <= STARTER.resolution**2
    items = ahead.items
    assert [item.index for item in items] == list(range(6)) and {item.repeats for item in items} == {3}
    assert [item.bucket for item in items] == [fit.bucket for fit in ahead.fits]
    assert ahead.plan.steps_per_epoch == sum(-(-count * 3 // 2) for count in ahead.buckets.values())


def test_regularisation_pictures_are_shown_as_often_as_what_is_learnt(workspace: Workspace) -> None:
    folder = workspace.root / "datasets" / "concepts"
    for name, size in (
        ("mine/a", (64, 64)),
        ("mine/b", (64, 64)),
        *((f"reg/{index}", (64, 64)) for index in range(9)),
        ("reg/z", (64, 128)),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(folder / f"{name}.png")
    concepts = "trigger: robo\nconcepts: [{folder: reg, regularisation: true}, {folder: mine, repeats: 3}]"
    (folder / "dataset.yaml").write_text(concepts, encoding="utf-8")
    ahead = planned(workspace, dataset__folder="concepts", dataset__trigger="", dataset__resolution=64, training__epochs=1)
    assert [(item.index, item.repeats) for item in ahead.items] == [*((index, 1) for index in range(6)), (10, 3), (11, 3)]
    assert (ahead.plan.pictures, ahead.plan.views_per_epoch, ahead.plan.steps) == (2, 6, 12)
    assert ahead.buckets == {(64, 64): 8}  # the tall one is left over
    assert codes(ahead) >= {"regularisation.left_over"} and "dataset.no_trigger" not in codes(ahead)


def test_without_buckets_all_are_squares(workspace: Workspace) -> None:
    assert planned(workspace, dataset__enable_buckets=False).buckets == {(STARTER.resolution,) * 2: 6}
    assert planned(workspace, dataset__enable_buckets=False, dataset__resolution=128).buckets == {(128, 128): 6}


def test_what_the_device_cannot_do_is_told_before_the_start(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path).prepare()
    practice = {"dataset__folder": "practice/mascot", "dataset__trigger": "mofumo"}
    card = DeviceProfile("cuda", "P100", (6, 0), 16_000)
    asked = {
        "model__quantization": "nf4", "model__attention": "flash", "model__precision": "bfloat16", "training__precision": "bfloat16",
        "training__optimizer__kind": "adamw8bit",
    }  # fmt: skip
    for name, value in asked.items():
        assert planned(workspace, **practice, **{name: value}).plan.steps, "nothing is refused before the device is known"
    write_profile(card, workspace.root / "config")
    for name, value in asked.items():
        with pytest.raises(EngineError) as caught:
            planned(workspace, **practice, **{name: value})
        assert (caught.value.code, caught.value.values["field"]) == ("device.unsupported", name.replace("__", "."))
    assert planned(workspace, **practice, model__quantization="int8", model__streamed_blocks=2).plan.steps


def test_small_pictures_can_stay_small(workspace: Workspace) -> None:
    folder = workspace.root / "datasets" / "small"
    folder.mkdir()
    Image.new("RGB", (STARTER.step * 2 + 3, STARTER.step), "red").save(folder / "a.png")
    assert planned(workspace, dataset__folder="small", dataset__no_upscale=True).buckets == {(STARTER.step * 2, STARTER.step): 1}
    Image.new("RGB", (STARTER.step * 2, STARTER.step - 1), "red").save(folder / "b.png")
    with pytest.raises(EngineError) as caught:
        planned(workspace, dataset__folder="small", dataset__no_upscale=True)
    assert caught.value.code == "bucket.picture_too_small" and caught.value.values["field"] == "dataset.no_upscale"


@pytest.mark.parametrize(
    ("settings", "code", "field"),
    [
        ({"output__name": ""}, "path.bad_name", "output.name"),
        ({"output__name": "a/b"}, "path.bad_name", "output.name"),
        ({"output__name": "a:b"}, "path.bad_name", "output.name"),
        ({"dataset__folder": ""}, "dataset.none", "dataset.folder"),
        ({"dataset__folder": "not there"}, "dataset.not_a_folder", "dataset.folder"),
        ({"dataset__folder": "../../.."}, "path.not_allowed", "dataset.folder"),
        ({"dataset__folder": "empty"}, "dataset.no_pictures", "dataset.folder"),
        ({"model__path": "gone.safetensors"}, "model.not_found", "model.path"),
        ({"model__path": "cut.safetensors"}, "file.truncated", "model.path"),
        ({"model__path": "broken"}, "model.bad_folder", "model.path"),
        ({"adapter__train_unet": False}, "config.nothing_to_train", "adapter.train_unet"),
        ({"dataset__resolution": 102}, "config.size", "dataset.resolution"),
        ({"dataset__bucket_step": 10}, "config.size", "dataset.bucket_step"),
        ({"samples__height": 102}, "config.size", "samples.height"),
        ({"dataset__bucket_step": 512}, "bucket.step", "dataset.bucket_step"),
        ({"dataset__bucket_min": 1024}, "bucket.below_minimum", "dataset.bucket_min"),
        ({"dataset__bucket_max": 32}, "bucket.above_maximum", "dataset.bucket_max"),
    ],
)
def test_reasons_not_to_start(workspace: Workspace, settings: dict, code: str, field: str) -> None:
    (workspace.root / "datasets" / "empty").mkdir(exist_ok=True)
    checkpoints = workspace.root / "models" / "checkpoints"
    (checkpoints / "cut.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    (checkpoints / "broken").mkdir(exist_ok=True)
    (checkpoints / "broken" / "model_index.json").write_text("{}")
    with pytest.raises(EngineError) as caught:
        planned(workspace, **settings)
    assert (caught.value.code, caught.value.values["field"]) == (code, field)


def test_sizes_of_samples_matter_only_where_samples_are_made(workspace: Workspace) -> None:
    assert planned(workspace, samples__height=102, samples__count=0).plan.sample_steps == ()


def test_notices(workspace: Workspace) -> None:
    own = planned(workspace)
    assert codes(own) == {"model.practice"}
    assert codes(planned(workspace, dataset__trigger=" ")) == {"model.practice", "dataset.no_trigger"}
    assert codes(planned(workspace, dataset__trigger="", dataset__kind="style")) == {"model.practice"}
    assert "adapter.text_only" in codes(planned(workspace, adapter__train_unet=False, adapter__train_text_encoder=True))


def test_findings_in_the_folder_are_notices(workspace: Workspace) -> None:
    folder = workspace.root / "datasets" / "one"
    make_photos(folder, 1, seed=2, captions=False)
    (folder / "broken.png").write_bytes(b"not a picture")
    ahead = planned(workspace, dataset__folder="one")
    assert {"dataset.one_picture", "caption.missing", "picture.unreadable"} <= codes(ahead)
    assert all(notice.values["field"] in ("dataset.folder", "model.path") for notice in ahead.notices)
    assert ahead.plan.pictures == 1


def test_a_hub_model_is_planned_before_it_is_downloaded(workspace: Workspace) -> None:
    ahead = planned(workspace, model__path="someone/some-model")
    assert ahead.model.location == "someone/some-model" and ahead.plan.resolution == 512 and not ahead.model.practice
    assert all(width % 64 == height % 64 == 0 for width, height in ahead.buckets)


def test_planning_writes_nothing(workspace: Workspace) -> None:
    def listing() -> set[Path]:
        return set(workspace.root.rglob("*"))

    before = listing()
    planned(workspace)
    assert listing() == before


def test_memory_is_forecast_for_the_device_that_was_seen_last(workspace: Workspace) -> None:
    plain = planned(workspace).memory
    assert plain and plain.available == 0 and plain.fits
    assert plain.phases["training"]["adapter"] == 4 * sum(planned(workspace).trained.parameters.values())  # type: ignore[union-attr]
    larger = planned(workspace, adapter__rank=32, samples__count=0).memory
    assert larger and larger.peak > plain.peak and "sampling" not in larger.phases
    write_profile(DeviceProfile("cpu", memory_mib=64), workspace.root / "config")
    try:
        narrow = planned(workspace)
        assert narrow.memory and narrow.memory.available == 64 * 2**20 and "memory.too_little" in codes(narrow)
    finally:
        (workspace.root / "config" / "device.json").unlink()
