"""The transformer of FLUX.1 in single files: every tensor of the real size, and diffusers' own converter as the oracle."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers

from engine.formats.layouts.flux import FLUX

# img_in, txt_in and final_layer 8; three embeddings of 4; double block: 4 norms, 10 matrices and their biases; single: 2 norms, 3
TENSORS = {True: 8 + 3 * 4 + 19 * 24 + 38 * 8, False: 8 + 2 * 4 + 19 * 24 + 38 * 8}


@pytest.fixture(params=TENSORS, ids=["dev", "schnell"], scope="module")
def published(request) -> tuple[bool, dict[str, torch.Tensor]]:
    """Whether it is told a guidance, and its empty tensors by name."""
    with torch.device("meta"):
        return request.param, FluxTransformer2DModel(guidance_embeds=request.param).state_dict()


def test_every_tensor_has_a_place_and_is_found_there_again(published):
    guidance, own = published
    places = FLUX.places(own, {})
    assert len({place.key for place in places.values()}) == TENSORS[guidance]
    assert FLUX.find({place.key for place in places.values()}, {}) == places


def test_tensors_that_share_a_place_fill_it(published):
    _, own = published
    filled: dict[str, Counter] = {}
    sizes: Counter = Counter()
    for key, place in FLUX.places(own, {}).items():
        start, stop, of = place.share or (0, 1, 1)
        filled.setdefault(place.key, Counter()).update((row, of) for row in range(start, stop))
        sizes[place.key] += own[key].shape[0]
    for rows in filled.values():
        (of,) = {of for _, of in rows}
        assert rows == {(row, of): 1 for row in range(of)}
    assert (sizes["double_blocks.18.txt_attn.qkv.weight"], sizes["single_blocks.37.linear1.bias"]) == (3 * 3072, 7 * 3072)


def test_the_size_of_a_tensor_is_told_by_that_of_its_place(published):
    _, own = published
    places = FLUX.places(own, {})
    rows = Counter()
    for key, place in places.items():
        rows[place.key] += own[key].shape[0]
    assert {key: place.size((rows[place.key], *own[key].shape[1:])) for key, place in places.items()} == {
        key: tuple(tensor.shape) for key, tensor in own.items()
    }


def test_only_the_last_shift_and_scale_are_swapped(published):
    _, own = published
    swapped = {key for key, place in FLUX.places(own, {}).items() if place.change}
    assert swapped == {"norm_out.linear.weight", "norm_out.linear.bias"}


def test_the_converter_of_diffusers_makes_the_same_tensors(published):
    _, empty = published
    own = {key: torch.randn(len(tensor)) for key, tensor in empty.items()}  # it moves rows only: one column tells all
    stored: dict[str, list] = {}
    for key, place in FLUX.places(own, {}).items():
        tensor = torch.cat(own[key].chunk(2)[::-1]) if place.change == "swapped" else own[key]
        stored.setdefault(place.key, []).append(((place.share or (0,))[0], tensor))
    file = {key: torch.cat([tensor for _, tensor in sorted(parts, key=lambda part: part[0])]) for key, parts in stored.items()}
    converted = convert_flux_transformer_checkpoint_to_diffusers(file)
    assert set(converted) == set(own)
    assert all(torch.equal(converted[key], own[key]) for key in own)


def test_a_strange_tensor_is_refused_in_the_model_and_left_out_in_the_file():
    with pytest.raises(KeyError):
        FLUX.places(["transformer_blocks.0.attn.to_k_ip.weight"], {})
    assert FLUX.find(["double_blocks.0.processor.proj_lora1.down.weight", "img_in.lora_A.weight"], {}) == {}
