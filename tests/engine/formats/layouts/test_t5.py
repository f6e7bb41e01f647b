"""The T5 encoder in single files, at its real size."""

from __future__ import annotations

import pytest
import torch
from transformers import T5Config, T5EncoderModel

from engine.formats.layouts.t5 import T5, t5_sizes

XXL = {"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
EMBEDDING = {"shared.weight", "encoder.embed_tokens.weight"}


@pytest.fixture(scope="module")
def shapes() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        network = T5EncoderModel(T5Config(**XXL, feed_forward_proj="gated-gelu"))
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def keys(shapes) -> list[str]:
    return list(shapes)


def test_every_tensor_is_written_under_its_own_name_the_embedding_under_both(keys):
    places = T5.places(keys, {})
    assert {key: place.key for key, place in places.items()} == {key: key for key in keys} and set(keys) > EMBEDDING
    assert not any(place.share or place.change for place in places.values())


@pytest.mark.parametrize("missing", ["", "shared.weight", "encoder.embed_tokens.weight"])
def test_the_embedding_is_found_under_either_name(keys, missing):
    found = T5.find([key for key in keys if key != missing], {})
    assert set(found) == set(keys)
    assert all(found[key].key != missing for key in EMBEDDING)


@pytest.mark.parametrize("missing", ["", "shared.weight", "encoder.embed_tokens.weight"])
def test_shapes_show_the_sizes(shapes, missing):
    shown = t5_sizes({key: shape for key, shape in shapes.items() if key != missing})
    assert shown == XXL | {"relative_attention_num_buckets": 32}


def test_what_is_no_encoder_is_refused_in_the_model_and_left_out_in_the_file():
    with pytest.raises(KeyError):
        T5.places(["decoder.block.0.layer.0.SelfAttention.q.weight"], {})
    assert T5.find(["decoder.block.0.layer.0.SelfAttention.q.weight", "logit_scale"], {}) == {}
