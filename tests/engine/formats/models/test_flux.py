"""FLUX.1 without torch: what is told from names and shapes, at the published size."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from torch import nn

from engine.config.adapter import LoraOptions
from engine.config.targets import choose
from engine.families.base import adaptable_layers
from engine.families.parts import build_empty
from engine.formats.models.base import CONFIGS, Shapes
from engine.formats.models.flux import FLUX
from engine.formats.safetensors_header import Header, TensorInfo
from engine.formats.single_file import find_parts

FOLDERS = {"dev": "flux_dev", "schnell": "flux_schnell"}


def config(variant: str, part: str) -> dict:
    return json.loads((CONFIGS / FOLDERS[variant] / part / "config.json").read_text(encoding="utf-8"))


def stored_shapes(part: str, network: nn.Module, settings: dict) -> Shapes:
    """The shapes a single file has of a network without weights."""
    shapes: dict[str, tuple[int, ...]] = {}
    state = network.state_dict()
    for key, place in FLUX.parts[part].keys.places(state, settings).items():
        start, stop, of = place.share or (0, 1, 1)
        rows, *rest = state[key].shape
        shapes[place.key] = (rows * of // (stop - start), *rest, *((1, 1) if place.change == "convolution" else ()))
    return shapes


@pytest.fixture(scope="module", params=FOLDERS)
def published(request) -> tuple[str, dict[str, nn.Module]]:
    """Variant, and its networks on the meta device."""
    settings = {name: config(request.param, name) for name in FLUX.parts}
    return request.param, {name: build_empty(part.kind, settings[name]) for name, part in FLUX.parts.items()}


def test_shapes_show_the_published_configs(published):
    variant, networks = published
    for name, network in networks.items():
        known = config(variant, name)
        shown = FLUX.parts[name].sizes(stored_shapes(name, network, known))
        assert {key: known[key] for key in shown if key in known} == {key: shown[key] for key in shown if key in known}, name


def test_the_variant_is_told_from_the_file_and_from_the_folder(published):
    variant, networks = published
    settings = config(variant, "transformer")
    assert FLUX.variant(stored_shapes("transformer", networks["transformer"], settings), {}) == variant
    assert FLUX.folder_variant({"transformer": settings}) == variant


def test_other_models_of_the_same_make_are_refused(published):
    variant, networks = published
    shapes = dict(stored_shapes("transformer", networks["transformer"], config(variant, "transformer")))
    with pytest.raises(ValueError, match="takes 384 numbers of a patch and gives 64"):
        FLUX.variant(shapes | {"img_in.weight": (3072, 384)}, {})  # FLUX.1 Fill
    del shapes["vector_in.in_layer.weight"]
    with pytest.raises(KeyError, match=r"vector_in\.in_layer"):
        FLUX.variant(shapes, {})  # Chroma


def components(networks: dict[str, nn.Module]) -> dict[str, nn.Module]:
    return {name: networks[name] for name in FLUX.trained}


def fused(paths: list[str]) -> set[str]:
    """Modules of the transformer as adapter files name them."""
    return {place.key.removesuffix(".weight") for place in FLUX.parts["transformer"].keys.places(
        [f"{path}.weight" for path in paths], {}).values()}  # fmt: skip


def test_all_layers_are_found(published):
    variant, networks = published
    layers = adaptable_layers("flux", components(networks))
    assert list(layers) == ["text_encoder", "text_encoder_2", "transformer"]
    linear = {path for path, module in networks["transformer"].named_modules() if isinstance(module, nn.Linear)}
    assert {layer.path for layer in layers["transformer"]} == linear
    # double block: 3 + 3 + 2 of attention, 4 + 2 of mlp; single: 3 and 3; ends: 4, and 2 for each of the embeddings
    ends = 4 + 2 * (3 if variant == "dev" else 2)
    groups = Counter(layer.group for layer in layers["transformer"])
    assert groups == {"attention": 19 * 8 + 38 * 3, "mlp": 19 * 6 + 38 * 3, "other": ends}
    assert Counter(layer.group for layer in layers["text_encoder_2"]) == {"attention": 96, "mlp": 72}
    assert {layer.switch for layer in layers["text_encoder_2"]} == {"train_t5"}


def test_counts_in_an_adapter_file_are_those_of_kohya(published):
    _, networks = published
    options = LoraOptions(targets="attention+mlp", train_text_encoder=True, train_t5=True)
    chosen = choose(adaptable_layers("flux", components(networks)), options)
    paths = {component: [target.layer.path for target in targets] for component, targets in chosen.items()}
    names = fused(paths["transformer"])
    assert (len(paths["transformer"]), len(names)) == (494, 304)
    assert {"double_blocks.18.txt_attn.qkv", "double_blocks.0.img_mod.lin", "single_blocks.37.linear1"} < names
    assert (len(paths["text_encoder"]), len(paths["text_encoder_2"])) == (72, 168)


def test_layers_that_share_an_input_are_given_the_same_tensor():
    """Of tiny networks, by looking."""
    transformer = build_empty("flux", config("dev", "transformer") | {
        "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "axes_dims_rope": [2, 6, 8], "num_attention_heads": 2,
        "joint_attention_dim": 8, "pooled_projection_dim": 8,
    }).to_empty(device="cpu")  # fmt: skip
    t5 = build_empty("t5", config("dev", "text_encoder_2") | {
        "vocab_size": 8, "d_model": 8, "d_ff": 8, "d_kv": 4, "num_heads": 2, "num_layers": 1,
    }).to_empty(device="cpu")  # fmt: skip
    networks = {"text_encoder_2": t5, "transformer": transformer}
    given: dict[str, list[torch.Tensor]] = {}
    for component, layers in adaptable_layers("flux", networks).items():
        for layer in layers:
            if layer.shared_input:
                word = f"{component}.{layer.shared_input}"
                module = networks[component].get_submodule(layer.path)
                module.register_forward_pre_hook(lambda _, inputs, word=word: given.setdefault(word, []).append(inputs[0]))
    with torch.no_grad():
        t5(torch.tensor([[1, 2]]))
        transformer(
            torch.zeros(1, 4, 64), torch.zeros(1, 2, 8), torch.zeros(1, 8), torch.zeros(1), torch.zeros(4, 3), torch.zeros(2, 3),
            guidance=torch.zeros(1),
        )  # fmt: skip
    assert sorted(len(tensors) for tensors in given.values()) == [2, 3, 3, 3, 4]
    assert all(tensor is tensors[0] for tensors in given.values() for tensor in tensors)


def header(keys: list[str]) -> Header:
    return Header({}, {key: TensorInfo("F16", (1,), 0, 2) for key in keys}, 8)


MARKS = {
    "text_encoder": "text_model.encoder.layers.0.mlp.fc1.weight",
    "text_encoder_2": "encoder.block.0.layer.0.SelfAttention.q.weight",
    "transformer": "double_blocks.0.img_attn.qkv.weight",
    "vae": "decoder.conv_in.weight",
}
ALL_IN_ONE = {
    "text_encoder": "text_encoders.clip_l.transformer.", "text_encoder_2": "text_encoders.t5xxl.transformer.",
    "transformer": "model.diffusion_model.", "vae": "vae.",
}  # fmt: skip


@pytest.mark.parametrize("prefixes", [ALL_IN_ONE, *({name: ""} for name in MARKS)], ids=lambda prefixes: "+".join(prefixes))
def test_parts_are_found_all_in_one_or_alone(prefixes):
    assert find_parts(header([prefix + MARKS[name] for name, prefix in prefixes.items()]), FLUX) == prefixes
