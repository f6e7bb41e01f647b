"""A loaded model at its place: number formats, what is quantised, what stays in main memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from engine.families import load_model, placing
from engine.families.placing import settle
from engine.families.quantise import Quantised
from engine.tiny import make_tiny
from tests.support.networks import network

CPU = torch.device("cpu")


def quantised_in(part: nn.Module) -> int:
    return sum(isinstance(module, Quantised) for module in part.modules())


def test_a_vae_that_overflows_float16_stays_float32(tmp_path: Path) -> None:
    folder = make_tiny("sd1", tmp_path / "sd1")
    half, brain = (load_model(folder, CPU, dtype) for dtype in (torch.float16, torch.bfloat16))
    assert (half.vae.dtype, half.denoiser.dtype, half.parts["text_encoder"].dtype) == (
        torch.float32,
        torch.float16,
        torch.float16,
    )
    assert brain.vae.dtype == torch.bfloat16
    exact = load_model(folder, CPU, torch.float32).vae
    assert all(torch.equal(one, other) for one, other in zip(half.vae.parameters(), exact.parameters(), strict=True))


def test_the_denoiser_and_large_text_encoders_are_quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"text_encoder": "clip", "text_encoder_2": "t5", "transformer": "flux", "vae": "t5"}
    parts = {name: network(kind) for name, kind in kinds.items()}
    sizes = {name: sum(each.numel() for each in part.parameters()) for name, part in parts.items()}
    monkeypatch.setattr(placing, "LARGE", sizes["text_encoder_2"])
    assert sizes["text_encoder"] < sizes["text_encoder_2"] == sizes["vae"]
    settle(parts, "transformer", CPU, "int8", streamed_blocks=1)
    assert {name for name, part in parts.items() if quantised_in(part)} == {"text_encoder_2", "transformer"}
    assert not any(parameter.requires_grad for part in parts.values() for parameter in part.parameters())


def test_without_room_the_rest_stays_in_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[str] = []

    class Part(nn.Linear):
        def to(self, *args: object, **kwargs: object) -> Part:
            came.append("vae")
            return self

    for free, expected in ((10**3, []), (10**9, ["vae"])):
        came.clear()
        monkeypatch.setattr(placing, "free_memory", lambda device, free=free: free)
        settle({"unet": nn.Linear(8, 8), "vae": Part(64, 64)}, "unet", CPU)
        assert came == expected
