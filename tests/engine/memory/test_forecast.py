from __future__ import annotations

from typing import Any

import pytest

from engine.config.load import validate
from engine.config.train import TrainConfig
from engine.fitting import DeviceProfile
from engine.memory.forecast import RESERVE, Learning, MemoryForecast, Sizes, memory_forecast
from tests.support.costs import VARIANTS, ranks_of, shipped

CARD = DeviceProfile("cuda", memory_mib=8 * 1024, bfloat16=True)
GIB = 2**30


def needed(
    family: str, variant: str, side: int, profile: DeviceProfile | None = CARD, sample: bool = True, **settings: Any
) -> MemoryForecast:
    base = shipped(family, variant)
    learning = Learning({base.denoiser: ranks_of(family, base, 16)}, parameters=25_000_000)
    sizes = Sizes((side, side), (side, side) if sample else None, captions=20)
    return memory_forecast(base, learning, validate(TrainConfig, settings), sizes, profile)


@pytest.mark.parametrize(("family", "variant"), VARIANTS)
def test_terms_add_up_and_the_peak_is_the_largest_phase(family: str, variant: str) -> None:
    found = needed(family, variant, 512)
    assert list(found.phases) == ["loading", "pictures", "texts", "training", "sampling", "decoding"]
    assert all(size > 0 for terms in found.phases.values() for size in terms.values())
    assert found.totals == {phase: sum(terms.values()) for phase, terms in found.phases.items()}
    assert found.peak == max(found.totals.values()) == found.totals[found.largest]
    assert found.peak < sum(found.totals.values())
    training = found.phases["training"]
    assert training["adapter"] == training["gradients"] == 4 * 25_000_000 and training["optimizer"] == 8 * 25_000_000
    assert found.step_flops > 0


def test_on_a_card_parts_have_their_turn_and_in_main_memory_all_are_there() -> None:
    card, main = needed("sdxl", "base", 1024), needed("sdxl", "base", 1024, DeviceProfile("cpu", memory_mib=64 * 1024))
    assert "base" not in card.phases["pictures"] and "vae" not in card.phases["training"]
    assert all({"base", "vae", "text_encoders"} <= set(terms) for terms in main.phases.values())
    assert main.phases["training"]["base"] == 2 * card.phases["training"]["base"]  # float32 on this processor
    streamed = needed("sdxl", "base", 1024, model={"streamed_blocks": 1000})
    assert "base" in streamed.phases["pictures"]  # its blocks come and go; the rest cannot leave
    assert streamed.phases["training"]["base"] < card.phases["training"]["base"] / 5


def test_every_way_to_save_memory_saves_some() -> None:
    plain = needed("sdxl", "base", 1024)
    ways: list[dict[str, Any]] = [
        {"training": {"gradient_checkpointing": True}}, {"training": {"gradient_checkpointing": True, "checkpointed_blocks": 40}},
        {"model": {"quantization": "nf4"}}, {"model": {"quantization": "fp8"}}, {"model": {"streamed_blocks": 20}},
        {"training": {"optimizer": {"kind": "adamw8bit"}}},
    ]  # fmt: skip
    for way in ways:
        assert needed("sdxl", "base", 1024, **way).totals["training"] < plain.totals["training"]
    assert needed("sdxl", "base", 512).totals["training"] < plain.totals["training"]
    assert needed("sdxl", "base", 1024, training={"batch_size": 2}).totals["training"] > plain.totals["training"]
    whole, half = (
        needed("sdxl", "base", 1024, training={"gradient_checkpointing": True, "checkpointed_blocks": count}) for count in (0, 40)
    )
    assert whole.totals["training"] < half.totals["training"]


def test_known_models_need_what_is_known_of_them() -> None:
    assert needed("sd1", "base", 512).peak / GIB == pytest.approx(3.0, abs=0.3)
    assert needed("flux", "dev", 512, model={"quantization": "nf4"}, training={"gradient_checkpointing": True}).peak / GIB < 8
    tight = needed("sdxl", "base", 1024, training={"gradient_checkpointing": True})
    assert tight.phases["training"]["base"] / GIB == pytest.approx(4.78, abs=0.01)


def test_texts_that_are_encoded_at_every_step_need_their_encoders() -> None:
    shuffled = needed("sd1", "base", 512, dataset={"shuffle_tags": True})
    assert "texts" not in shuffled.phases and shuffled.phases["training"]["text_encoders"] > 0
    base = shipped("sd1", "base")
    ranks = {"text_encoder": {"encoder.layers.0.mlp.fc1": 8}, "unet": ranks_of("sd1", base, 16)}
    config = validate(TrainConfig, {"adapter": {"train_text_encoder": True}})
    learning = memory_forecast(base, Learning(ranks, 1_000_000), config, Sizes((512, 512), None), CARD)
    assert learning.phases["training"]["text_encoders"] > 0 and "sampling" not in learning.phases
    alone = memory_forecast(base, Learning({"unet": ranks["unet"]}, 1_000_000), config, Sizes((512, 512), None), CARD)
    assert learning.phases["training"]["activations"] > alone.phases["training"]["activations"]


def test_whether_it_fits_is_asked_of_the_device() -> None:
    assert needed("sdxl", "base", 1024, profile=None).fits  # nothing is known yet
    peak = needed("sd1", "base", 512).peak
    roomy, narrow = (DeviceProfile("cuda", memory_mib=(peak + RESERVE) // 2**20 + more, bfloat16=True) for more in (1, -1))
    assert needed("sd1", "base", 512, roomy).fits and not needed("sd1", "base", 512, narrow).fits
