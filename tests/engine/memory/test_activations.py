"""Held against what autograd keeps, and the most that is alive at once, in the real networks at their real size."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.targets import choose
from engine.families.base import adaptable_layers
from engine.families.checkpointing import checkpointing
from engine.families.parts import part_class
from engine.memory.activations import activations
from engine.memory.values import Formats
from engine.memory.walk import block_names, decode_picture, denoise, encode_picture
from tests.support.costs import shipped
from tests.support.unreal import Watch, kept, picture_inputs, unreal

RANK = 16
QUICK = [("sd1", "base", 512, False), ("sd1", "base", 512, True), ("sd3", "3.5_medium", 512, False), ("flux", "dev", 512, False),
         ("z_image", "turbo", 512, True)]  # fmt: skip
LONG = [("sdxl", "base", 1024, False), ("sdxl", "base", 1024, True), ("sd3", "medium", 1024, False), ("sd3", "medium", 1024, True),
        ("sd3", "3.5_medium", 512, True), ("flux", "dev", 512, True), ("z_image", "turbo", 512, False)]  # fmt: skip
"""Family, variant, side of the picture in px, whether the blocks are recomputed."""


@dataclass(frozen=True)
class Step:
    """What PyTorch holds of a step beside the weights and the adapters', bytes."""

    kept: int
    peak: int
    gradients: int
    ranks: dict[str, int]


def measured(family: str, variant: str, side: int, tokens: int, compute: torch.dtype, cuda: bool, again: bool = False) -> Step:
    base = shipped(family, variant)
    part = base.predicting
    with unreal(compute, cuda):
        torch.set_default_dtype(compute)
        real = part_class(part.kind).from_config(dict(part.config)).eval().requires_grad_(False)
        torch.set_default_dtype(torch.float32)
        components = {base.denoiser: real}
        targets = choose(adaptable_layers(family, components), LoraOptions(rank=RANK))
        network = Network.create(family, components, targets, seed=0).train()
        network.insert(components)

        def predict() -> torch.Tensor:
            return picture_inputs(part.kind, real, 1, side // 8, side // 8, tokens)

        size = 0 if again else kept(predict, real, network)
        watch = Watch()
        watch.know(real, network)
        with watch, checkpointing([real] if again else []):
            torch.autograd.backward(predict().float().sum())
    ranks = {target.layer.path: RANK for target in targets[base.denoiser]}
    return Step(size, watch.peak, sum(4 * parameter.numel() for parameter in network.parameters()), ranks)


@pytest.mark.parametrize(
    ("family", "variant", "side", "again"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in LONG)]
)
def test_a_step_needs_what_pytorch_needs(family: str, variant: str, side: int, again: bool) -> None:
    base = shipped(family, variant)
    part, tokens = base.predicting, min(base.text_tokens, 333)
    real = measured(family, variant, side, tokens, torch.bfloat16, True, again)
    blocks = set(block_names(part.kind, part.config)) if again else ()
    walked = denoise(part.kind, part.config, side // 8, side // 8, tokens, ranks=real.ranks, again=blocks)
    found = activations(walked, real.gradients)
    if not again:
        assert sum(found.kept.values()) == pytest.approx(real.kept, rel=0.02)
    assert found.peak == pytest.approx(real.peak, rel=0.15)


def test_half_precision_without_wide_norms_and_full_precision() -> None:
    part = shipped("sd1", "base").predicting
    for compute, width in ((torch.bfloat16, 2), (torch.float32, 4)):
        real = measured("sd1", "base", 256, 77, compute, False)
        walked = denoise(part.kind, part.config, 32, 32, 77, formats=Formats(width, width), ranks=real.ranks)
        assert sum(activations(walked).kept.values()) == pytest.approx(real.kept, rel=0.03)


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
def test_pictures_are_encoded_and_decoded_in_what_pytorch_needs(compute: torch.dtype) -> None:
    config = shipped("sdxl", "base").networks["vae"].config
    formats = Formats(compute.itemsize, compute.itemsize)
    with unreal(), torch.no_grad():
        torch.set_default_dtype(compute)
        real = part_class("vae").from_config(dict(config)).eval()
        picture, latents = torch.empty(1, 3, 768, 1024), torch.empty(1, 4, 96, 128)
        torch.set_default_dtype(torch.float32)
        for run, walk in (
            (lambda: real.encode(picture).latent_dist.mean, encode_picture),
            (lambda: real.decode(latents).sample, decode_picture),
        ):
            watch = Watch()
            watch.know(real)
            with watch:
                run()
            assert walk(config, 1024, 768, formats).peak == pytest.approx(watch.peak, rel=0.02)
