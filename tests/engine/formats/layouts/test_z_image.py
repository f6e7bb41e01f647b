"""Z-Image's transformer in single files: every tensor of the real size, and diffusers' own converter as the oracle."""

from __future__ import annotations

import pytest
import torch
from diffusers import ZImageTransformer2DModel
from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers

from engine.formats.layouts.z_image import Z_IMAGE, z_image_sizes

TINY = {
    "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 24, "axes_dims": [4, 6, 6],
}  # fmt: skip


@pytest.fixture(scope="module")
def published() -> ZImageTransformer2DModel:
    with torch.device("meta"):
        return ZImageTransformer2DModel()


def as_stored(model: ZImageTransformer2DModel) -> dict[str, torch.Tensor]:
    shares: dict[str, list[tuple[int, torch.Tensor]]] = {}
    own = model.state_dict()
    for key, place in Z_IMAGE.places(own, model.config).items():
        shares.setdefault(place.key, []).append(((place.share or (0,))[0], own[key]))
    return {key: torch.cat([tensor for _, tensor in sorted(parts, key=lambda part: part[0])]) for key, parts in shares.items()}


def test_every_tensor_of_the_published_size_has_a_place_and_is_found_there_again(published):
    assert sum(parameter.numel() for parameter in published.parameters()) == 6_154_908_736
    places = Z_IMAGE.places(published.state_dict(), published.config)
    stored = {place.key for place in places.values()}
    # the matrices of q, k and v are one in each of the 34 blocks
    assert len(places) == 521 and len(stored) == 453
    assert Z_IMAGE.find(stored, published.config) == places


def test_the_sizes_of_a_file_are_those_of_the_model(published):
    config = z_image_sizes({key: tuple(tensor.shape) for key, tensor in as_stored(published).items()})
    assert all(published.config[name] == value for name, value in config.items())
    assert config["axes_dims"] == [32, 48, 48]
    tiny = ZImageTransformer2DModel(**TINY)
    assert z_image_sizes({key: tuple(tensor.shape) for key, tensor in as_stored(tiny).items()}) == TINY | {"in_channels": 16}


def test_the_converter_of_diffusers_makes_the_same_tensors():
    model = ZImageTransformer2DModel(**TINY)
    own = model.state_dict()
    converted = convert_z_image_transformer_checkpoint_to_diffusers(
        {f"model.diffusion_model.{key}": tensor for key, tensor in as_stored(model).items()}
    )
    assert converted.keys() == own.keys()
    assert all(torch.equal(converted[key], own[key]) for key in own)


def test_strange_tensors_are_refused_in_the_model_and_left_out_of_a_file():
    with pytest.raises(KeyError):
        Z_IMAGE.places(["siglip_embedder.0.weight"], {})
    assert Z_IMAGE.find(["norm_final.weight", "layers.0.attention.to_q.weight"], {}) == {}
    with pytest.raises(KeyError):
        z_image_sizes({"cap_embedder.1.weight": (32, 24)})
