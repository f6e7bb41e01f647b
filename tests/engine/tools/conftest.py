"""A tiny model as a folder and as a file, and adapters for it whose every parameter has learnt something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.config.adapter import LayerOptions, LoraOptions
from engine.config.load import nested, validate
from engine.config.targets import choose
from engine.config.tools import ToolConfig
from engine.families import load_model
from engine.families.base import Family, Placing
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.tools.run import run
from engine.workspace import Workspace
from tests.support.tiny import tiny_sd1, tiny_sd1_single_file

Use = Callable[..., dict[str, Any]]
MakeLora = Callable[..., Path]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with `folder`, `file` and `other` (of other weights), all of one make."""
    place = tmp_path_factory.mktemp("models")
    tiny_sd1(place / "folder")
    tiny_sd1_single_file(place / "file.safetensors")
    tiny_sd1_single_file(place / "other.safetensors", seed=1)
    return place


@pytest.fixture
def workspace(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path / "data", checkpoint_folder=models).prepare()


@pytest.fixture(scope="session")
def model(models: Path) -> Family:
    return load_model(models / "file.safetensors", torch.device("cpu"), torch.float32)


@pytest.fixture
def make_lora(workspace: Workspace, model: Family) -> MakeLora:
    """Write an adapter of these options into the LoRA folder, all its parameters at random."""

    def make(
        name: str,
        options: LayerOptions | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        size: float = 0.05,
        **metadata: str,
    ) -> Path:
        options = options or LoraOptions(rank=3, alpha=2, targets="attention", train_text_encoder=True)
        return random_lora(workspace.loras / f"{name}.safetensors", model, options, seed, dtype, size, **metadata)

    return make


def random_lora(
    file: Path,
    model: Family,
    options: LayerOptions,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    size: float = 0.05,
    **metadata: str,
) -> Path:
    """Write an adapter for the model, all its parameters at random."""
    network = Network.create(model.facts.family, model.components, choose(model.layers(), options), seed)
    randomise(network, seed, size)
    tensors = {
        key: tensor.detach() if key.endswith("alpha") else tensor.detach().to(dtype) for key, tensor in network.tensors().items()
    }
    write_adapter(file, tensors, {"ss_output_name": file.stem, "ss_base_model_version": model.variant.base_version, **metadata})
    return file


def randomise(network: nn.Module, seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.randn(parameter.shape, generator=generator) * size


@pytest.fixture
def use(workspace: Workspace) -> Use:
    """Use a tool: use("merge", files=["a", "b"], name="c") gives its report."""

    def use(kind: str, name: str = "made", **options: Any) -> dict[str, Any]:
        return use_tool(workspace, kind, name, **options)

    return use


def use_tool(workspace: Workspace, kind: str, name: str = "made", **options: Any) -> dict[str, Any]:
    """The report of a tool."""
    return run(validate(ToolConfig, nested({"tool": {"kind": kind, **options}, "output.name": name})), workspace)["report"]


def deltas(path: Path, model: Family) -> dict[str, Tensor]:
    """What a file changes in the model: `module.tensor` -> difference."""
    network = Network.from_file(read_adapter(path), model.components, model.facts.family).eval()
    with torch.no_grad():
        return {
            f"{name}.{tensor}": delta.detach()
            for name, ref in network.refs.items()
            for tensor, delta in network.adapters[name]
            .deltas(dict(model.components[ref.component].get_submodule(ref.path).named_parameters()))
            .items()  # type: ignore[operator]
        }


def total(parts: dict[str, Tensor]) -> float:
    return float(sum(part.double().norm() ** 2 for part in parts.values()) ** 0.5)


def predicted(model: Family, networks: list[tuple[Path, float]]) -> Tensor:
    """What the model predicts with adapters applied; it is left as it was."""
    merger = Merger(model.components)
    merger.apply([
        Applied(Network.from_file(read_adapter(path), model.components, model.facts.family), weight, weight, (str(path),))
        for path, weight in networks
    ])  # fmt: skip
    prediction = prediction_of(model)
    merger.restore()
    return prediction


@torch.no_grad()
def prediction_of(model: Family) -> Tensor:
    """What the model predicts for one noisy picture and text."""
    latents = torch.randn(1, *model.latent_shape(64, 64), generator=torch.Generator().manual_seed(3))
    conditions = model.picture_conditions([Placing((64, 64), (0, 0), (64, 64))])
    return model.predict(
        latents, torch.tensor([500]), conditions | model.encode_tokens(["a red cat"], model.facts.habits.clip_skip)
    )
