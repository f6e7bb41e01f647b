from __future__ import annotations

from typing import Any

import pytest

from engine.config.load import validate
from engine.config.train import TrainConfig
from engine.fitting import DeviceProfile
from engine.memory.advice import WAYS, milder, too_little
from engine.memory.forecast import Learning, MemoryForecast, Sizes, memory_forecast
from tests.support.costs import ranks_of, shipped

SDXL = shipped("sdxl", "base")
RANKS = Learning({"unet": ranks_of("sdxl", SDXL, 16)}, 44_000_000)


def needed(config: TrainConfig, gib: float) -> MemoryForecast:
    profile = DeviceProfile("cuda", memory_mib=round(gib * 1024), bfloat16=True)
    return memory_forecast(SDXL, RANKS, config, Sizes((1024, 1024), (1024, 1024)), profile)


def ways(gib: float, **settings: Any) -> list[tuple[str, str]]:
    config = validate(TrainConfig, settings)
    found = too_little(config, needed(config, gib), lambda changed: needed(changed, gib))
    if not found:
        return []
    assert found[0].code == "memory.too_little" and found[0].values["available"] == f"{gib:.1f}"
    assert all(WAYS[way] in found[0].todo for way, _ in found[0].values["ways"])
    return found[0].values["ways"]


def test_a_run_that_fits_or_cannot_be_forecast_is_left_alone() -> None:
    assert ways(80) == []
    assert too_little(TrainConfig(), None, lambda _: pytest.fail("nothing to ask for")) == []


def test_the_mildest_changes_come_first_and_end_where_the_run_fits() -> None:
    found = ways(16, training={"batch_size": 4})
    assert [way for way, _ in found] == ["batch"]
    found = ways(8, training={"batch_size": 4})
    assert [way for way, _ in found] == ["batch", "checkpointing"]
    sizes = [float(size) for _, size in found]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 8
    assert [way for way, _ in ways(4, training={"gradient_checkpointing": True})] == ["optimizer", "quantization"]


def test_where_nothing_is_enough_a_smaller_resolution_is_named_without_a_promise() -> None:
    assert ways(1)[-1] == ("resolution", "")


def test_what_is_on_already_is_not_changed() -> None:
    config = validate(TrainConfig, {
        "training": {"gradient_checkpointing": True, "optimizer": {"kind": "adamw8bit"}},
        "model": {"quantization": "int8", "streamed_blocks": 3},
    })  # fmt: skip
    assert all(milder(config, way) is None for way in WAYS)
