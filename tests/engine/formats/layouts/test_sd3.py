"""The transformer of Stable Diffusion 3 in single files: every tensor of the real sizes, and diffusers' own converter as the oracle."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers import SD3Transformer2DModel
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

from engine.formats.layouts.sd3 import Sd3Keys

PUBLISHED = {
    "medium": {"num_layers": 24, "num_attention_heads": 24, "pos_embed_max_size": 192},
    "3.5 medium": {
        "num_layers": 24, "num_attention_heads": 24, "pos_embed_max_size": 384,
        "qk_norm": "rms_norm", "dual_attention_layers": tuple(range(13)),
    },
    "3.5 large": {"num_layers": 38, "num_attention_heads": 38, "pos_embed_max_size": 192, "qk_norm": "rms_norm"},
}  # fmt: skip
# 17 outside the blocks; 20 a block and 14 in the last; 4 norms a block in 3.5; 6 of each second attention
TENSORS = {"medium": 17 + 20 * 23 + 14, "3.5 medium": 17 + 24 * 23 + 18 + 6 * 13, "3.5 large": 17 + 24 * 37 + 18}


def build(device: str = "meta", **sizes) -> SD3Transformer2DModel:
    width = sizes["num_attention_heads"] * sizes.get("attention_head_dim", 64)
    with torch.device(device):
        return SD3Transformer2DModel(caption_projection_dim=width, **{"pooled_projection_dim": 2048} | sizes)


@pytest.fixture(params=PUBLISHED)
def published(request) -> tuple[str, SD3Transformer2DModel]:
    return request.param, build(**PUBLISHED[request.param])


def test_every_tensor_has_a_place_and_is_found_there_again(published):
    name, model = published
    places = Sd3Keys().places(model.state_dict(), model.config)
    assert len({place.key for place in places.values()}) == TENSORS[name]
    assert Sd3Keys().find({place.key for place in places.values()}, model.config) == places


def test_tensors_that_share_a_place_fill_it(published):
    _, model = published
    rows = Counter()
    for place in Sd3Keys().places(model.state_dict(), model.config).values():
        start, stop, of = place.share or (0, 1, 1)
        rows.update({(place.key, row, of): 1 for row in range(start, stop)})
    assert set(rows.values()) == {1}
    assert all((key, row, of) in rows for key, _, of in rows for row in range(of))


def test_only_what_shifts_and_scales_is_swapped(published):
    _, model = published
    swapped = {key for key, place in Sd3Keys().places(model.state_dict(), model.config).items() if place.change}
    last = f"transformer_blocks.{model.config.num_layers - 1}.norm1_context.linear"
    assert swapped == {f"{module}.{leaf}" for module in (last, "norm_out.linear") for leaf in ("weight", "bias")}


def test_the_converter_of_diffusers_makes_the_same_tensors():
    model = build("cpu", num_layers=3, num_attention_heads=2, attention_head_dim=4, joint_attention_dim=16, pos_embed_max_size=4,
                  qk_norm="rms_norm", dual_attention_layers=(0, 1), pooled_projection_dim=8)  # fmt: skip
    own, stored = model.state_dict(), {}
    for key, place in Sd3Keys().places(own, model.config).items():
        tensor = own[key]
        if place.change == "swapped":
            tensor = torch.cat(tensor.chunk(2)[::-1])
        stored.setdefault(place.key, []).append(((place.share or (0,))[0], tensor))
    file = {key: torch.cat([tensor for _, tensor in sorted(parts, key=lambda part: part[0])]) for key, parts in stored.items()}
    converted = convert_sd3_transformer_checkpoint_to_diffusers(file)
    assert set(converted) == set(own)
    assert all(torch.equal(converted[key], own[key]) for key in own)


def test_a_strange_tensor_is_refused_in_the_model_and_left_out_in_the_file():
    config = {"num_layers": 24}
    with pytest.raises(KeyError):
        Sd3Keys().places(["transformer_blocks.0.attn3.to_q.weight"], config)
    assert Sd3Keys().find(["joint_blocks.0.x_block.attn3.qkv.weight"], config) == {}
