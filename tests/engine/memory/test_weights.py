from __future__ import annotations

import pytest
from torch import nn

from engine.families.blocks import blocks_of
from engine.families.parts import build_empty
from engine.memory.order import largest_first
from engine.memory.sketch import Sketch
from engine.memory.walk import block_names, decode_picture, denoise, encode_picture, encode_text
from engine.memory.weights import SMALLEST, block_bytes, dequantised, parameters, weight_bytes
from tests.support.costs import VARIANTS, shipped

KEPT_IN_FILES = {"sd3": {"pos_embed.pos_embed"}}
"""Kind -> buffers that count as weights."""
TWICE = "encoder.embed_tokens.weight"
"""T5's embedding by its second name: on the meta device the two are not yet one."""


def sizes_of(kind: str, network: nn.Module) -> dict[str, int]:
    tensors = dict(network.named_parameters())
    tensors |= {name: tensor for name, tensor in network.named_buffers() if name in KEPT_IN_FILES.get(kind, ())}
    return {name: tensor.numel() for name, tensor in tensors.items() if name != TWICE}


@pytest.mark.parametrize(("family", "variant"), VARIANTS)
def test_every_part_has_the_weights_of_the_real_one(family: str, variant: str) -> None:
    base = shipped(family, variant)
    for name, part in base.networks.items():
        real = build_empty(part.kind, part.config)
        if name == "vae":
            walked = parameters(encode_picture(part.config, 64, 64)) + parameters(decode_picture(part.config, 64, 64))
            assert walked == sum(sizes_of(part.kind, real).values())
            continue
        sketch = walked_part(part.kind, part.config, base.text_tokens)
        assert parameters(sketch) == sum(sizes_of(part.kind, real).values())
        matrices = {path: weight.matrix for block in sketch.blocks for path, weight in block.weights.items() if weight.matrix}
        assert matrices == {
            path: layer.weight.numel()
            for path, layer in real.named_modules()
            if isinstance(layer, nn.Linear) and "lm_head" not in path
        }


@pytest.mark.parametrize(("family", "variant"), VARIANTS)
def test_blocks_are_those_that_are_recomputed_and_streamed(family: str, variant: str) -> None:
    base = shipped(family, variant)
    for name, part in base.networks.items():
        if name != "vae":
            real = build_empty(part.kind, part.config)
            names = {id(module): path for path, module in real.named_modules()}
            assert largest_first(block_names(part.kind, part.config)) == [names[id(block)] for block in blocks_of(real)]


def walked_part(kind: str, config: dict, tokens: int) -> Sketch:
    return (
        encode_text(kind, config, 1)
        if kind in ("clip", "clip_projected", "t5", "qwen3")
        else denoise(kind, config, 64, 64, tokens)
    )


def test_number_formats_and_streaming_add_up() -> None:
    part = shipped("flux", "dev").predicting
    sketch = denoise(part.kind, part.config, 64, 64, 512)
    numbers = parameters(sketch)
    matrices = sum(weight.matrix for block in sketch.blocks for weight in block.weights.values() if weight.matrix >= SMALLEST)
    assert weight_bytes(sketch, 2) == 2 * numbers
    assert weight_bytes(sketch, 2, "int8") == weight_bytes(sketch, 2, "fp8") == 2 * (numbers - matrices) + matrices
    assert weight_bytes(sketch, 2, "nf4") / 2**30 == pytest.approx(5.72, abs=0.02)  # 4.127 bits each
    every = {block.name for block in sketch.blocks[1:]}
    sizes = [block_bytes(block, 2, "none") for block in sketch.blocks]
    assert weight_bytes(sketch, 2, streamed=every) == sizes[0] + 2 * max(sizes[1:])
    assert weight_bytes(sketch, 2, streamed={"transformer_blocks.0"}) == sum(sizes) + sizes[1]
    assert dequantised(sketch, 2, "nf4") == 2 * max(weight.matrix for b in sketch.blocks for weight in b.weights.values())
    assert dequantised(sketch, 2, "none") == 0
