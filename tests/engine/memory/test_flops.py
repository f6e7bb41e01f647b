from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.families.parts import build_empty
from engine.memory.flops import forward_flops, step_flops
from engine.memory.walk import decode_picture, denoise, encode_picture, encode_text
from tests.support.costs import VARIANTS, ranks_of, shipped
from tests.support.unreal import picture_inputs

TABLE = {
    ("sd1", "base", 256): (0.180, 0.365),
    ("sd1", "base", 512): (0.803, 1.72),
    ("sd1", "base", 768): (2.15, 4.91),
    ("sdxl", "base", 512): (1.59, 3.17),
    ("sdxl", "base", 768): (3.64, 7.45),
    ("sdxl", "base", 1024): (6.76, 14.2),
    ("sd3", "medium", 512): (2.11, 4.49),
    ("sd3", "medium", 1024): (8.90, 20.7),
    ("sd3", "3.5_large", 512): (7.98, 16.6),
    ("sd3", "3.5_large", 1024): (31.1, 69.6),
    ("flux", "dev", 512): (21.5, 44.7),
    ("flux", "dev", 768): (41.9, 89.5),
    ("flux", "dev", 1024): (74.4, 164),
}
"""TFLOP per picture of a forward pass, and of a step of a LoRA of rank 16 on all projections of attention."""
TERA = 1e12


@pytest.mark.parametrize(("family", "variant", "side"), TABLE)
def test_a_step_takes_what_the_published_sizes_take(family: str, variant: str, side: int) -> None:
    base = shipped(family, variant)
    network, latents = base.predicting, (side // 8, side // 8)
    forward, step = TABLE[family, variant, side]
    plain = denoise(network.kind, network.config, *latents, base.text_tokens)
    assert forward_flops(plain) / TERA == pytest.approx(forward, rel=0.005)
    learning = denoise(network.kind, network.config, *latents, base.text_tokens, ranks=projections(family, variant))
    assert step_flops(learning) / TERA == pytest.approx(step, rel=0.01)
    assert 1.9 < step_flops(learning) / forward_flops(plain) < 2.35


def projections(family: str, variant: str) -> dict[str, int]:
    """q, k, v and the way out of every attention."""
    return {path: 16 for path in ranks_of(family, shipped(family, variant), 16) if ".attn" in path}


@pytest.mark.parametrize(("family", "variant"), VARIANTS)
def test_a_prediction_takes_what_pytorch_counts(family: str, variant: str) -> None:
    base = shipped(family, variant)
    network = base.predicting
    real = build_empty(network.kind, network.config)
    width, height, tokens = 32, 24, 64
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        picture_inputs(network.kind, real, 2, width, height, tokens)
    walked = denoise(network.kind, network.config, width, height, tokens, batch=2)
    assert forward_flops(walked) == pytest.approx(counter.get_total_flops(), rel=0.001)


@pytest.mark.parametrize("configs", ["sd1", "sdxl", "flux_dev", "sd3_medium", "z_image"])
def test_texts_and_pictures_take_what_pytorch_counts(configs: str) -> None:
    family, variant = {"sd1": ("sd1", "base"), "sdxl": ("sdxl", "base"), "flux_dev": ("flux", "dev"), "sd3_medium": ("sd3", "medium"),
                       "z_image": ("z_image", "turbo")}[configs]  # fmt: skip
    base = shipped(family, variant)
    vae = base.networks["vae"]
    real = build_empty("vae", vae.config)
    for walk, run in ((encode_picture, real.encode), (decode_picture, real.decode)):
        given = (1, 3, 128, 64) if walk is encode_picture else (1, vae.config["latent_channels"], 16, 8)
        with FlopCounterMode(display=False) as counter:
            run(torch.empty(given, device="meta"))
        assert forward_flops(walk(vae.config, 64, 128)) == pytest.approx(counter.get_total_flops(), rel=0.001)
    for name in base.encoders:
        encoder = base.networks[name]
        real = build_empty(encoder.kind, encoder.config)
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            real(torch.zeros(2, 77, dtype=torch.long))
        walked = encode_text(encoder.kind, encoder.config, 77, batch=2)
        assert forward_flops(walked) == pytest.approx(counter.get_total_flops(), rel=0.002), json.dumps(dict(encoder.config))
