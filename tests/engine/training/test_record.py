"""A file carries the settings of its run, without what is private."""

from __future__ import annotations

import json

import pytest

from engine.config.adapter import OPTIONS
from engine.config.train import TrainConfig
from engine.training.record import settings


@pytest.mark.parametrize("kind", [kind for kind in OPTIONS if kind != "norm"])
def test_settings_are_a_config_again(kind: str) -> None:
    config = TrainConfig.model_validate({"adapter": {"kind": kind, "module_dropout": 0.1}, "training": {"seed": 7}})
    again = TrainConfig.model_validate(json.loads(json.dumps(settings(config))))
    assert (again.adapter, again.training) == (config.adapter, config.training)


def test_no_path_and_no_sample_prompt_is_told() -> None:
    config = TrainConfig.model_validate({
        "model": {
            "path": "/home/someone/models/v1-5.safetensors", "vae": "/home/someone/vae.safetensors",
            "text_encoders": ["C:\\Users\\someone\\clip_l.safetensors"],
        },
        "dataset": {"folder": "C:\\Users\\someone\\cats"},
        "adapter": {"start_from": "/home/someone/first.safetensors"}, "samples": {"prompts": ["something private"]},
    })  # fmt: skip
    told = settings(config)
    assert "someone" not in json.dumps(told) and "private" not in json.dumps(told)
    assert (told["model"]["path"], told["dataset"]["folder"], told["adapter"]["start_from"]) == (
        "v1-5.safetensors", "cats", "first.safetensors",
    )  # fmt: skip
    assert (told["model"]["vae"], told["model"]["text_encoders"]) == ("vae.safetensors", ["clip_l.safetensors"])
