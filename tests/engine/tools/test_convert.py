from __future__ import annotations

import pytest
import torch

from engine.config.adapter import LohaOptions, LoraOptions
from engine.errors import AdapterError
from engine.families.base import Family
from engine.formats.adapter_file import read_adapter
from engine.formats.hashes import adapter_hash
from engine.workspace import Workspace
from tests.engine.tools.conftest import MakeLora, Use, deltas


def test_there_and_back_is_the_same_to_the_bit(make_lora: MakeLora, use: Use, model: Family, workspace: Workspace) -> None:
    a = make_lora(
        "a", LoraOptions(rank=3, alpha=2, conv_rank=2, train_text_encoder=True), **{"modelspec.trigger_phrase": "mofumo"}
    )
    report = use("convert", "diffusers", file="a", format="peft")
    peft = workspace.loras / "diffusers.safetensors"
    assert read_adapter(peft).format in ("peft", "diffusers") and report["error_max"] == 0 and report["format_before"] == "kohya"
    exact, found = deltas(a, model), deltas(peft, model)
    assert exact.keys() == found.keys() and all(torch.equal(exact[key], found[key]) for key in exact)
    use("convert", "back", file="diffusers", format="kohya")
    back = workspace.loras / "back.safetensors"
    assert adapter_hash(back) == adapter_hash(a)
    assert read_adapter(back).metadata["modelspec.trigger_phrase"] == "mofumo"
    assert "lora_adapter_metadata" not in read_adapter(back).metadata


def test_number_formats_only_round(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    a = make_lora("a")
    report = use("convert", file="a", precision="float16")
    made, exact = read_adapter(workspace.loras / "made.safetensors").modules, read_adapter(a).modules
    for name, parts in exact.items():
        for suffix, tensor in parts.items():
            assert torch.equal(made[name][suffix], tensor if suffix == "alpha" else tensor.half())
    assert 0 < report["error_mean"] <= report["error_max"] < 1e-3 and report["dtype"] == "float16"


def test_what_cannot_be_converted(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    make_lora("huge", size=1e6)
    make_lora("loha", LohaOptions(rank=2))
    for options, code in (
        ({"file": "huge", "precision": "float16"}, "tool.overflow"),
        ({"file": "loha", "format": "peft"}, "adapter.cannot_convert"),
    ):
        with pytest.raises(AdapterError) as told:
            use("convert", **options)
        assert told.value.code == code and not (workspace.loras / "made.safetensors").exists()
