"""The laws of the tools hold for every family: layers that files have in one, text encoders of any kind, layouts of any program."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.adapters.network import Network
from engine.config.adapter import LokrOptions, LoraOptions
from engine.families import load_model
from engine.families.base import Family
from engine.formats.adapter_file import read_adapter
from engine.formats.hashes import adapter_hash
from engine.formats.models import MODELS
from engine.formats.safetensors_header import read_header
from engine.library import model_names
from engine.tiny import make_tiny
from engine.workspace import Workspace
from tests.engine.tools.conftest import deltas, predicted, prediction_of, random_lora, total, use_tool

FAMILIES = [family for family in MODELS if family != "sd1"]
LORA = LoraOptions(rank=3, alpha=2, train_text_encoder=True, train_t5=True)


def loaded(path: Path) -> Family:
    return load_model(path, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module", params=FAMILIES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with the tiny model of a family as `file` and as `folder`."""
    place = tmp_path_factory.mktemp(request.param)
    make_tiny(request.param, place / "folder")
    make_tiny(request.param, place / "file.safetensors", single_file=True)
    return place


@pytest.fixture(scope="module")
def model(place: Path) -> Family:
    return loaded(place / "folder")


@pytest.fixture
def workspace(tmp_path: Path, place: Path, model: Family) -> Workspace:
    """It has the LoRAs `a` and `b`, and `c`, a LoKr, for the model."""
    workspace = Workspace(tmp_path, checkpoint_folder=place).prepare()
    random_lora(workspace.loras / "a.safetensors", model, LORA)
    random_lora(workspace.loras / "b.safetensors", model, LORA.model_copy(update={"rank": 2, "targets": "attention"}), seed=1)
    random_lora(workspace.loras / "c.safetensors", model, LokrOptions(rank=2, alpha=1, targets="attention"), seed=2)
    return workspace


def apart(found: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """The difference, relative to what is exact."""
    assert found.keys() == exact.keys()
    return total({key: found[key] - exact[key] for key in exact}) / total(exact)


def summed(model: Family, terms: dict[Path, float]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path, weight in terms.items():
        for key, delta in deltas(path, model).items():
            found[key] = found.get(key, torch.zeros(())) + weight * delta
    return found


@pytest.mark.parametrize(("base", "layout"), [("file", "same"), ("folder", "single_file"), ("file", "folder")])
def test_the_baked_model_draws_what_the_adapters_draw(workspace: Workspace, model: Family, base: str, layout: str) -> None:
    report = use_tool(workspace, "bake", files=["a:0.7", "c:-0.5"], model=base, layout=layout)
    baked = loaded(model_names(workspace)["made" if layout == "folder" else "made.safetensors"])
    assert (baked.facts.variant, baked.facts.prediction) == (model.facts.variant, model.facts.prediction)
    wanted = predicted(model, [(workspace.loras / "a.safetensors", 0.7), (workspace.loras / "c.safetensors", -0.5)])
    assert torch.allclose(prediction_of(baked), wanted, atol=1e-5)
    assert not torch.allclose(prediction_of(model), wanted, atol=1e-3)
    assert all(file["matched"] == file["total"] > 0 for file in report["files"]) and report["tensors"] == report["layers"]


def test_a_baked_lora_comes_out_again(workspace: Workspace, model: Family) -> None:
    a = workspace.loras / "a.safetensors"
    use_tool(workspace, "bake", "tuned", files=["a"], model="folder", layout="single_file")
    report = use_tool(workspace, "extract", model="file", tuned="tuned", rank=3)
    made = workspace.loras / "made.safetensors"
    assert apart(deltas(made, model), deltas(a, model)) < 1e-3
    assert report["left_out"] < 1e-3 and read_adapter(made).modules.keys() == read_adapter(a).modules.keys()
    assert read_header(made).metadata["ss_base_model_version"] == model.variant.base_version


def test_merging_is_exact(workspace: Workspace, model: Family) -> None:
    a, b, c = (workspace.loras / f"{name}.safetensors" for name in "abc")
    report = use_tool(workspace, "merge", files=["a:0.7", "b:-0.3"])
    assert report["whole"] == 0 and report["error_max"] < 1e-6
    assert apart(deltas(workspace.loras / "made.safetensors", model), summed(model, {a: 0.7, b: -0.3})) < 1e-6
    use_tool(workspace, "merge", "with", files=["a:0.7", "c:-0.3"], model="file")
    assert apart(deltas(workspace.loras / "with.safetensors", model), summed(model, {a: 0.7, c: -0.3})) < 1e-6


def test_peft_and_back_is_the_same_to_the_bit(workspace: Workspace, model: Family) -> None:
    a = workspace.loras / "a.safetensors"
    use_tool(workspace, "convert", "peft", file="a", format="peft")
    peft = workspace.loras / "peft.safetensors"
    assert read_adapter(peft).format in ("peft", "diffusers")
    exact, found = deltas(a, model), deltas(peft, model)
    assert exact.keys() == found.keys() and all(torch.equal(exact[key], found[key]) for key in exact)
    use_tool(workspace, "convert", "back", file="peft", format="kohya")
    assert adapter_hash(workspace.loras / "back.safetensors") == adapter_hash(a)


def test_looking_comparing_and_lowering_the_rank(workspace: Workspace, model: Family) -> None:
    a, b = (workspace.loras / f"{name}.safetensors" for name in "ab")
    report = use_tool(workspace, "inspect", "", file="a", model="file")
    assert report["matched"] == report["total"] == len(read_adapter(a).modules)
    alone = use_tool(workspace, "inspect", "", file="a")
    assert sum(norm**2 for norm in alone["norms"].values()) == pytest.approx(total(deltas(a, model)) ** 2, rel=1e-4)
    assert use_tool(workspace, "difference", "nothing", file="a", other="a")["modules"] == 0
    use_tool(workspace, "difference", "most", file="a", other="b", model="folder")
    assert apart(deltas(workspace.loras / "most.safetensors", model), summed(model, {a: 1, b: -1})) < 1e-6
    report = use_tool(workspace, "resize", "same-rank", file="a", rank=100)
    assert apart(deltas(workspace.loras / "same-rank.safetensors", model), deltas(a, model)) < 1e-6
    report = use_tool(workspace, "resize", "lower", file="a", rank=1)
    found, exact = deltas(workspace.loras / "lower.safetensors", model), deltas(a, model)
    assert max(float((found[key] - exact[key]).norm() / exact[key].norm()) for key in exact) == pytest.approx(
        report["error_max"], rel=1e-3
    )


def test_the_leading_ranks_of_a_dylora_are_cut(workspace: Workspace, model: Family) -> None:
    a, made = (workspace.loras / f"{name}.safetensors" for name in ("a", "made"))
    random_lora(a, model, LORA.model_copy(update={"rank": 4}))
    use_tool(workspace, "cut", file="a", rank=2)
    whole, cut = (Network.from_file(read_adapter(file), model.components, model.facts.family).adapters for file in (a, made))
    assert whole.keys() == cut.keys()
    for name in whole:
        assert torch.equal(cut[name].lora_down.weight, whole[name].lora_down.weight[:2])
        assert torch.equal(cut[name].lora_up.weight, whole[name].lora_up.weight[:, :2])
