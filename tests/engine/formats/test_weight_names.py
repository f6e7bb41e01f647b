from __future__ import annotations

import pytest

from engine.formats.weight_names import best_variant, weight_sets

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = "model.safetensors.index.json"
HALF = ["diffusion_pytorch_model.fp16-00001-of-00001.safetensors", "diffusion_pytorch_model.safetensors.index.fp16.json"]


@pytest.mark.parametrize(
    ("names", "sets"),
    [
        (["model.safetensors", "config.json", "model.bin", "pytorch_model.safetensors"], {"": ["model.safetensors"]}),
        (["model.fp16.safetensors"], {"fp16": ["model.fp16.safetensors"]}),
        ([*SHARDS, INDEX], {"": [*SHARDS, INDEX]}),
        ([SHARDS[0], INDEX], {}),
        (SHARDS, {}),
        ([*SHARDS, INDEX, "model.safetensors"], {"": ["model.safetensors"]}),
        (HALF, {"fp16": HALF}),
        (
            ["diffusion_pytorch_model.safetensors", *HALF],
            {"": ["diffusion_pytorch_model.safetensors"], "fp16": HALF},
        ),
        (["openvino_model.safetensors", "model.onnx"], {}),
    ],
)
def test_complete_sets(names: list[str], sets: dict[str, list[str]]) -> None:
    assert weight_sets(names) == sets
    assert weight_sets(reversed(names)) == sets


def test_the_plain_files_are_preferred_and_averages_without_ema_never_taken() -> None:
    assert best_variant(["model.fp16.safetensors", "model.safetensors"]) == ""
    assert best_variant(iter(["model.fp32.safetensors", "model.fp16.safetensors"])) == "fp16"
    assert best_variant(["model.non_ema.safetensors"]) is None
