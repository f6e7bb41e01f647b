from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers import ZImageTransformer2DModel
from torch import nn

from engine.config.targets import Layer
from engine.formats.z_image_layers import z_image_layers


@pytest.fixture(scope="module")
def published() -> tuple[ZImageTransformer2DModel, list[Layer]]:
    with torch.device("meta"):
        model = ZImageTransformer2DModel()
    return model, z_image_layers([path for path, _ in model.named_modules()], model.config)


def test_all_linear_layers_are_found_and_nothing_else(published):
    model, layers = published
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert [layer.path for layer in layers] == linear
    # 34 blocks of four and three; a modulation in 32 of them, and six layers on the way in and out
    assert Counter(layer.group for layer in layers) == {"attention": 34 * 4, "mlp": 34 * 3, "other": 32 + 6}


def test_projections_have_the_heads_of_the_model_and_know_who_shares_their_input(published):
    _, layers = published
    by_path = {layer.path: layer for layer in layers}
    block = "layers.7"
    for name in ("to_q", "to_k", "to_v"):
        layer = by_path[f"{block}.attention.{name}"]
        assert (layer.heads, layer.head_axis, layer.shared_input) == (30, "outputs", f"{block}.attention")
    assert by_path[f"{block}.attention.to_out.0"].head_axis == "inputs"
    assert by_path[f"{block}.feed_forward.w1"].shared_input == by_path[f"{block}.feed_forward.w3"].shared_input != ""
    assert by_path[f"{block}.feed_forward.w2"].shared_input == by_path[f"{block}.attention.to_out.0"].shared_input == ""


def test_layers_that_share_their_input_are_really_given_the_same_tensor():
    model = ZImageTransformer2DModel(
        dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=8, axes_dims=[4, 6, 6]
    )
    seen: dict[str, list[int]] = {}
    for layer in z_image_layers([path for path, _ in model.named_modules()], model.config):
        if layer.shared_input:
            module = model.get_submodule(layer.path)
            module.register_forward_pre_hook(
                lambda _, given, group=layer.shared_input: seen.setdefault(group, []).append(id(given[0]))
            )
    model([torch.zeros(16, 1, 4, 4)], torch.tensor([0.5]), [torch.zeros(5, 8)])
    assert len(seen) == 6 and all(len(given) in (2, 3) and len(set(given)) == 1 for given in seen.values())
