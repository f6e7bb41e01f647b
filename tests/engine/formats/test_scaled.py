"""8-bit numbers with scales: a model reads as the one it was made from, as near as 8 bits come."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import ModelError
from engine.families import load_model
from engine.model_facts import model_facts
from engine.tiny import make_tiny

CPU = torch.device("cpu")
FP8 = torch.float8_e4m3fn


@pytest.fixture(scope="module", params=["flux", "sdxl"])
def single(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(request.param, tmp_path_factory.mktemp("whole") / "whole.safetensors", single_file=True)


def in_fp8(single: Path, path: Path, spelling: str, by_row: bool) -> Path:
    """The matrices of the denoiser in fp8, each number times 1/scale, so that without the scale they would be far off."""
    tensors = load_file(single)
    for key in [key for key in tensors if key.startswith("model.diffusion_model.") and key.endswith(".weight")]:
        weight = tensors[key]
        if weight.dim() != 2:
            continue
        scale = (weight.abs().amax(1, keepdim=True) if by_row else weight.abs().max()) / 400
        tensors[key] = (weight / scale).to(FP8)
        tensors[key.removesuffix("weight") + spelling] = scale.float()
    tensors["model.diffusion_model.scaled_fp8"] = torch.zeros(0, dtype=FP8)
    save_file(tensors, path)
    (path.parent / "tokenizers").symlink_to(single.parent / "tokenizers")
    return path


@pytest.mark.parametrize(("spelling", "by_row"), [("scale_weight", False), ("weight_scale", True)])
def test_scales_are_applied(single: Path, tmp_path: Path, spelling: str, by_row: bool) -> None:
    scaled = in_fp8(single, tmp_path / "s.safetensors", spelling, by_row)
    whole, scaled = (load_model(path, CPU, torch.float32) for path in (single, scaled))
    for (name, one), other in zip(whole.denoiser.state_dict().items(), scaled.denoiser.state_dict().values(), strict=True):
        assert (one - other).abs().max() <= one.abs().max() / 16, name  # three bits behind the point


def test_scales_of_another_kind_are_refused(single: Path, tmp_path: Path) -> None:
    path = in_fp8(single, tmp_path / "s.safetensors", "weight_scale", True)
    tensors = load_file(path)
    key = next(key for key in tensors if key.endswith(".weight_scale"))
    tensors[key] = torch.ones(3)
    save_file(tensors, path)
    with pytest.raises(ModelError, match="scales") as caught:
        load_model(path, CPU, torch.float32)
    assert caught.value.code == "model.bad_shape"


def test_weights_that_another_program_quantised_are_refused_from_the_header(single: Path, tmp_path: Path) -> None:
    tensors = load_file(single)
    key = next(key for key in tensors if key.startswith("model.diffusion_model.") and tensors[key].dim() == 2)
    save_file(tensors | {key: tensors[key].to(torch.int8)}, tmp_path / "q.safetensors")
    with pytest.raises(ModelError, match="I8") as caught:
        model_facts(tmp_path / "q.safetensors")
    assert caught.value.code == "model.quantised"
