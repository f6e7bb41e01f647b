"""The two models of Stable Diffusion 2 in files that say nothing of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.formats.safetensors_header import read_header
from engine.formats.sd2_prediction import BIAS, ENTRY, SPREAD, sd2_prediction
from engine.model_facts import model_facts
from engine.tiny import make_tiny


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("spread", "prediction"), [(SPREAD * 0.8, "epsilon"), (SPREAD * 1.2, "v_prediction")])
def test_the_spread_of_a_bias_tells(tmp_path: Path, dtype: torch.dtype, spread: float, prediction: str) -> None:
    bias = torch.tensor([3 + spread, 3 - spread] * 160, dtype=torch.float32)
    bias -= 3 if dtype is torch.bfloat16 else 0  # which is too coarse there
    save_file({"before": torch.ones(3), BIAS: bias.to(dtype), ENTRY: torch.ones(8, 4, 3, 3)}, tmp_path / "x.safetensors")
    assert sd2_prediction(tmp_path / "x.safetensors", read_header(tmp_path / "x.safetensors")) == prediction


@pytest.mark.parametrize(
    "tensors",
    [
        {"x": torch.ones(2)},
        {BIAS: torch.ones(8)},
        {BIAS: torch.ones(()), ENTRY: torch.ones(8, 4, 3, 3)},
        {BIAS: torch.ones(8, dtype=torch.int8), ENTRY: torch.ones(8, 4, 3, 3)},
        {BIAS: torch.tensor([1.0, -1.0]), ENTRY: torch.ones(8, 9, 3, 3)},
    ],
)
def test_without_it_nothing_is_told(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, tmp_path / "x.safetensors")
    assert sd2_prediction(tmp_path / "x.safetensors", read_header(tmp_path / "x.safetensors")) is None


@pytest.mark.parametrize(("spread", "variant", "resolution"), [(0.02, "base", 512), (0.2, "v", 768)])
def test_a_file_without_a_card_is_the_right_model(tmp_path: Path, spread: float, variant: str, resolution: int) -> None:
    path = make_tiny("sd2", tmp_path / "x.safetensors", variant="base", single_file=True)
    tensors = load_file(path)
    tensors[BIAS] = torch.tensor([spread, -spread] * (len(tensors[BIAS]) // 2))
    save_file(tensors, path)  # without the metadata
    facts = model_facts(path)
    assert (facts.family, facts.variant, facts.resolution) == ("sd2", variant, resolution)
    assert facts.prediction == ("v_prediction" if variant == "v" else "epsilon")


def test_inpainting_models_predict_noise_whatever_it_says(tmp_path: Path) -> None:
    path = make_tiny("sd2", tmp_path / "x.safetensors", variant="inpainting", single_file=True)
    tensors = load_file(path)
    tensors[BIAS] = torch.tensor([1.0, -1.0] * (len(tensors[BIAS]) // 2))
    save_file(tensors, path)
    facts = model_facts(path)
    assert (facts.variant, facts.prediction) == ("inpainting", "epsilon")
