from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.adapters.network import Network
from engine.config.adapter import FullOptions, LoraOptions
from engine.errors import ModelError
from engine.families import load_model
from engine.families.base import Family
from engine.formats.adapter_file import read_adapter
from engine.workspace import Workspace
from tests.engine.tools.conftest import MakeLora, Use, deltas, predicted, total


def test_a_baked_lora_comes_out_again(make_lora: MakeLora, use: Use, model: Family, workspace: Workspace) -> None:
    a = make_lora("a", LoraOptions(rank=3, alpha=2, conv_rank=2, train_text_encoder=True))
    use("bake", "tuned", files=["a"], model="file")
    report = use("extract", model="file", tuned="tuned", rank=3)
    made = workspace.loras / "made.safetensors"
    exact, found = deltas(a, model), deltas(made, model)
    assert found.keys() == exact.keys(), "layers without a difference are left out"
    assert total({key: found[key] - exact[key] for key in exact}) < 1e-4 * total(exact)
    assert report["error_max"] < 1e-3 and report["left_out"] < 1e-3 and report["rank_highest"] == 3 and report["unchanged"] > 0
    assert torch.allclose(predicted(model, [(made, 1.0)]), predicted(model, [(a, 1.0)]), atol=1e-4)
    assert read_adapter(made).metadata["ss_base_model_version"] == "sd_v1"


def test_the_error_told_is_the_error_made(use: Use, model: Family, workspace: Workspace, models: Path) -> None:
    """Two unrelated models: nothing about the difference is low in rank."""
    report = use("extract", model="folder", tuned="other", rank=8, conv_rank=4)
    found = deltas(workspace.loras / "made.safetensors", model)
    other = load_model(models / "other.safetensors", torch.device("cpu"), torch.float32)
    refs = Network.from_file(read_adapter(workspace.loras / "made.safetensors"), model.components, "sd1").refs
    errors, squares = [], 0.0
    for name, ref in refs.items():
        exact = (
            other.components[ref.component].get_submodule(ref.path).weight
            - model.components[ref.component].get_submodule(ref.path).weight
        )
        errors.append(float((found[f"{name}.weight"] - exact).norm() / exact.norm()))
        squares += float(exact.norm()) ** 2
    assert report["error_max"] == pytest.approx(max(errors), rel=1e-4) and report["error_mean"] == pytest.approx(
        sum(errors) / len(errors), rel=1e-4
    )
    whole = sum(
        float((mine - theirs).norm()) ** 2
        for part in ("unet", "text_encoder")
        for mine, theirs in zip(model.components[part].parameters(), other.components[part].parameters(), strict=True)
    )
    assert report["left_out"] == pytest.approx((1 - squares / whole) ** 0.5, rel=1e-3) and report["left_out"] > 0.01
    convolutions = [
        parts
        for parts in read_adapter(workspace.loras / "made.safetensors").modules.values()
        if parts["lora_down.weight"].shape[-1] == 3 and parts["lora_down.weight"].dim() == 4
    ]
    assert convolutions and {len(parts["lora_down.weight"]) for parts in convolutions} == {4}


def test_modes_and_parts(use: Use, workspace: Workspace, model: Family) -> None:
    plain = {"model": "file", "tuned": "other", "convolutions": False, "text_encoder": False, "rank": 1000}
    whole = use("extract", "whole", **plain)
    assert whole["error_max"] < 1e-5
    names = read_adapter(workspace.loras / "whole.safetensors").modules
    assert all(name.startswith("lora_unet_") and "resnets" not in name for name in names)
    for mode, limit in (("ratio", 0.5), ("quantile", 0.5), ("threshold", 0.9)):
        use("extract", mode, mode=mode, limit=limit, **plain)
        for name, parts in read_adapter(workspace.loras / f"{mode}.safetensors").modules.items():
            values = torch.linalg.svdvals(deltas_of(names[name]))
            share = values.cumsum(0) / values.sum()
            wanted = {
                "ratio": int((values > values[0] / 2).sum()),
                "threshold": max(1, int((values > 0.9).sum())),
                "quantile": int((share < 0.5 - 1e-6).sum()) + 1,
            }[mode]
            assert len(parts["lora_down.weight"]) == wanted, (mode, name)


def deltas_of(parts: dict[str, torch.Tensor]) -> torch.Tensor:
    return parts["lora_up.weight"].flatten(1) @ parts["lora_down.weight"].flatten(1)


def test_what_lora_cannot_hold_is_told(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    make_lora("a", FullOptions(targets="attention", train_norms=True))
    use("bake", "tuned", files=["a"], model="file")
    assert use("extract", model="file", tuned="tuned", rank=1000)["left_out"] > 0.1


def test_models_that_cannot_be_compared(use: Use, workspace: Workspace, models: Path) -> None:
    with pytest.raises(ModelError) as told:
        use("extract", model="file", tuned="folder")
    assert told.value.code == "tool.models_equal"
    with pytest.raises(ModelError) as told:
        use("extract", model="file", tuned="starter")
    assert told.value.code == "tool.models_differ" and told.value.values["field"] == "tool.tuned"
    for given in ({"model": "file"}, {"tuned": "file"}, {"model": "file", "tuned": "nix.safetensors"}):
        with pytest.raises(ModelError) as told:
            use("extract", **given)
        assert str(told.value.values["field"]).startswith("tool.")
    assert list(workspace.loras.iterdir()) == []
