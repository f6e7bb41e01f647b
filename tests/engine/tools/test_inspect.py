from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config.adapter import LohaOptions
from engine.families.base import Family
from engine.workspace import Workspace
from tests.engine.tools.conftest import MakeLora, Use, deltas


def test_sizes_and_what_fits(make_lora: MakeLora, use: Use, model: Family, workspace: Workspace) -> None:
    a = make_lora("a")
    report = use("inspect", "", file="a")
    exact = deltas(a, model)
    assert report["norms"].keys() == {key.removesuffix(".weight") for key in exact} and report["not_finite"] == []
    assert all(
        report["norms"][key.removesuffix(".weight")] == pytest.approx(float(delta.norm()), rel=1e-5)
        for key, delta in exact.items()
    )
    assert sum(size**2 for size in report["blocks"].values()) == pytest.approx(
        sum(float(d.norm()) ** 2 for d in exact.values()), rel=1e-5
    )
    assert "total" not in report
    fit = use("inspect", "", file="a", model="file")
    assert fit["matched"] == fit["total"] == len(exact) and fit["norms"] == pytest.approx(report["norms"], rel=1e-6)


def test_what_does_not_fit_and_what_needs_the_model(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    make_lora("a", LohaOptions(rank=2))
    assert "depends on the base model" in use("inspect", "", file="a")["needs_base"]
    assert use("inspect", "", file="a", model="file")["needs_base"] == ""
    save_file(
        {"lora_unet_nowhere.lora_down.weight": torch.ones(1, 2), "lora_unet_nowhere.lora_up.weight": torch.ones(2, 1)},
        workspace.loras / "x.safetensors",
    )
    report = use("inspect", "", file="x", model="file")
    assert report["matched"] == 0 and report["total"] == 1 and report["unmatched"] == ["lora_unet_nowhere"]


def test_broken_numbers_are_named(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    a = make_lora("a")
    tensors = load_file(a)
    name = next(key for key in tensors if key.endswith("lora_up.weight"))
    tensors[name][0] = float("nan")
    save_file(tensors, a)
    assert use("inspect", "", file="a") == {"not_finite": [name], "broken": 1}
