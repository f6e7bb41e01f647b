"""Qwen3 in single files: the published text encoder of Z-Image, name by name."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Qwen3Config, Qwen3Model

from engine.formats.layouts.qwen3 import QWEN3, qwen3_sizes
from engine.formats.models.base import CONFIGS


@pytest.fixture(scope="module")
def published() -> Qwen3Model:
    config = json.loads((CONFIGS / "z_image" / "text_encoder" / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        return Qwen3Model(Qwen3Config(**config))


def test_every_tensor_keeps_its_name(published):
    keys = list(published.state_dict())
    assert len(keys) == 398 and sum(parameter.numel() for parameter in published.parameters()) == 4_022_468_096
    places = QWEN3.places(keys, {})
    assert [place.key for place in places.values()] == keys
    assert QWEN3.find(keys, {}) == places


def test_the_sizes_of_a_file_are_those_of_the_model(published):
    shown = qwen3_sizes({key: tuple(tensor.shape) for key, tensor in published.state_dict().items()})
    assert all(getattr(published.config, name) == value for name, value in shown.items())
    assert shown["num_attention_heads"] == 32 and shown["num_key_value_heads"] == 8 and shown["num_hidden_layers"] == 36


def test_what_is_no_part_of_it_is_refused_and_left_out():
    with pytest.raises(KeyError):
        QWEN3.places(["layers.0.self_attn.rotary_emb.inv_freq"], {})
    assert QWEN3.find(["lm_head.weight"], {}) == {}
    with pytest.raises(KeyError):
        qwen3_sizes({"norm.weight": (8,)})
