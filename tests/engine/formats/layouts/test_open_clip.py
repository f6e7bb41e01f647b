"""OpenCLIP's names and diffusers' own converter's, and the same keys found again."""

from __future__ import annotations

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.formats.layouts.open_clip import OpenClip, open_clip_sizes

CONFIG = {
    "vocab_size": 99, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1,
    "projection_dim": 40, "max_position_embeddings": 77,
}  # fmt: skip


def network(kind: type) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(CLIPTextConfig(**CONFIG))


def stored(model: torch.nn.Module, keys: OpenClip) -> dict[str, torch.Tensor]:
    """The model's tensors as OpenCLIP has them: shares stacked, the projection transposed."""
    state, shares = model.state_dict(), {}
    for key, place in keys.places(state, CONFIG).items():
        tensor = state[key].T if place.change == "transposed" else state[key]
        shares.setdefault(place.key, []).append((place.share or (0, 1, 1), tensor))
    assert all(
        sorted(share for share, _ in parts) in ([(0, 1, 1)], [(0, 1, 3), (1, 2, 3), (2, 3, 3)]) for parts in shares.values()
    )
    return {key: torch.cat([tensor for _, tensor in sorted(parts, key=lambda part: part[0])]) for key, parts in shares.items()}


@pytest.mark.parametrize(("kind", "level"), [(CLIPTextModel, ""), (CLIPTextModelWithProjection, "text_model.")])
def test_diffusers_reads_the_same_tensors(kind: type, level: str) -> None:
    model = network(kind)
    file = {f"p.{key}": tensor for key, tensor in stored(model, OpenClip(level)).items()}
    read = convert_open_clip_checkpoint(model, file, prefix="p.")
    state = {key.removeprefix("text_model."): tensor for key, tensor in model.state_dict().items()}
    theirs = {key.removeprefix("text_model."): tensor for key, tensor in read.items() if not key.endswith("position_ids")}
    theirs = {key: tensor for key, tensor in theirs.items() if key in state}
    assert theirs.keys() == state.keys()
    assert all(torch.equal(theirs[key], state[key]) for key in state)


@pytest.mark.parametrize(("kind", "level"), [(CLIPTextModel, ""), (CLIPTextModelWithProjection, "text_model.")])
def test_every_key_is_found_again(kind: type, level: str) -> None:
    state, keys = network(kind).state_dict(), OpenClip(level)
    places = keys.places(state, CONFIG)
    files = {place.key for place in places.values()}
    assert {
        "token_embedding.weight",
        "positional_embedding",
        "ln_final.bias",
        "transformer.resblocks.1.attn.in_proj_bias",
    } <= files
    found = keys.find([*files, "logit_scale", "attn_mask", "transformer.resblocks.2.ln_1.weight"], CONFIG)
    assert found == places  # neither what nobody reads nor a block beyond the network's


def test_a_strange_key_is_told() -> None:
    with pytest.raises(KeyError, match="vision"):
        OpenClip().places(["vision.weight"], CONFIG)


def test_sizes_come_back_from_shapes() -> None:
    model = network(CLIPTextModelWithProjection)
    keys = OpenClip("text_model.")
    shapes = {key: tuple(tensor.shape) for key, tensor in stored(model, keys).items()}
    assert open_clip_sizes(shapes) == CONFIG
    places = keys.places(model.state_dict(), CONFIG)
    assert all(places[key].size(shapes[places[key].key]) == tuple(tensor.shape) for key, tensor in model.state_dict().items())
