"""Keys split into module and tensor for every writer we know."""

from __future__ import annotations

import pytest

from engine.formats.suffixes import ALGORITHM_SUFFIXES, algorithm_of, split_key, split_keys


@pytest.mark.parametrize(
    ("key", "module", "suffix"),
    [
        ("lora_unet_a.lora_down.weight", "lora_unet_a", "lora_down.weight"),
        ("lora_unet_a.alpha", "lora_unet_a", "alpha"),
        ("lora_unet_a.hada_w1_a", "lora_unet_a", "hada_w1_a"),
        ("lora_unet_a.a1.weight", "lora_unet_a", "a1.weight"),
        ("unet.a.to_q.lora_A.weight", "unet.a.to_q", "lora_down.weight"),
        ("base_model.model.a.to_out.0.lora_B.default.weight", "base_model.model.a.to_out.0", "lora_up.weight"),
        ("unet.a.to_q.lora.up.weight", "unet.a.to_q", "lora_up.weight"),
        ("text_encoder.q_proj.lora_linear_layer.down.weight", "text_encoder.q_proj", "lora_down.weight"),
        ("unet.attn1.processor.to_q_lora.up.weight", "unet.attn1.processor.to_q", "lora_up.weight"),
        ("unet.a.lora_magnitude_vector", "unet.a", "dora_scale"),
    ],
)
def test_split(key: str, module: str, suffix: str) -> None:
    split = split_key(key)
    assert split is not None and split[:2] == (module, suffix)


@pytest.mark.parametrize("key", ["alpha", "lora_down.weight", "a.weight", "a.lora_B.bias", "a.lora_down", "a.beta", ""])
def test_not_split(key: str) -> None:
    assert split_key(key) is None


def test_a_bare_weight_belongs_to_ia3_only_beside_on_input() -> None:
    known, unknown = split_keys(["a.weight", "a.on_input", "b.weight"])
    assert known["a.weight"] == ("a", "weight", "weight")
    assert unknown == ["b.weight"]


def test_the_algorithm_of_its_own_suffixes() -> None:
    for name, suffixes in ALGORITHM_SUFFIXES.items():
        assert all(algorithm_of({suffix: (4, 2, 2), "alpha": ()}) == name for suffix in suffixes)
    assert algorithm_of({"alpha": ()}) is None


def test_boft_is_oft_with_a_dimension_more() -> None:
    assert algorithm_of({"rescale": (8, 1), "oft_blocks": (3, 4, 2, 2)}) == "boft"
