from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config.adapter import LoraOptions, OftOptions
from engine.config.load import validate
from engine.config.tools import ToolConfig
from engine.errors import AdapterError, ConfigError, ModelError
from engine.families import load_model
from engine.families.base import Family
from engine.formats.adapter_writer import write_adapter
from engine.formats.safetensors_header import read_header
from engine.model_facts import model_facts
from engine.tools.run import run
from engine.workspace import Workspace
from tests.engine.tools.conftest import MakeLora, Use, predicted


def loaded(path: Path) -> Family:
    return load_model(path, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("base", ["file", "folder"])
def test_the_baked_model_draws_what_the_adapters_draw(
    base: str, make_lora: MakeLora, use: Use, model: Family, workspace: Workspace, models: Path
) -> None:
    a, b = (
        make_lora("a", LoraOptions(rank=3, alpha=2, conv_rank=2, train_text_encoder=True)),
        make_lora("b", OftOptions(block_size=4), 1),
    )
    report = use("bake", files=["a:0.7", "b:-0.5"], model=base)
    out = workspace.root / "models" / "checkpoints" / ("made.safetensors" if base == "file" else "made")
    beside = {"tokenizers"} if base == "file" else set()
    assert {path.name for path in out.parent.iterdir()} == {out.name} | beside, "nothing half-done stays"
    assert torch.allclose(predicted(loaded(out), []), predicted(model, [(a, 0.7), (b, -0.5)]), atol=1e-6)
    assert not torch.allclose(predicted(loaded(out), []), predicted(model, []), atol=1e-3)
    assert [file["matched"] for file in report["files"]] == [file["total"] for file in report["files"]]
    assert model_facts(out).family == "sd1"
    source = models / ("file.safetensors" if base == "file" else "folder")
    if base == "folder":
        assert {file.relative_to(out) for file in out.rglob("*")} == {file.relative_to(source) for file in source.rglob("*")}
        assert (out / "vae" / "diffusion_pytorch_model.safetensors").read_bytes() == (
            source / "vae" / "diffusion_pytorch_model.safetensors"
        ).read_bytes()
    else:
        before, after = read_header(source), read_header(out)
        assert list(before.tensors.items()) == list(after.tensors.items())
        old, new = load_file(source), load_file(out)
        touched = {name for name in old if not torch.equal(old[name], new[name])}
        assert len(touched) == report["tensors"] and not any(name.startswith("first_stage_model.") for name in touched)
        assert after.metadata["modelspec.merged_from"] == "file, a, b" and after.metadata["modelspec.title"] == "made"


def test_sums_are_rounded_once_to_the_stored_format(make_lora: MakeLora, use: Use, workspace: Workspace, models: Path) -> None:
    source = workspace.root / "models" / "checkpoints" / "half.safetensors"
    tensors = load_file(models / "file.safetensors")
    save_file(
        {name: tensor.half() for name, tensor in tensors.items()}, source, read_header(models / "file.safetensors").metadata
    )
    file = make_lora("a", LoraOptions(rank=2, alpha=2, targets="attention"))
    use("bake", files=["a:0.5", "a:0.25"], model="half")
    new = load_file(source.with_name("made.safetensors"))
    name = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
    factors = load_file(file)
    module = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    delta = factors[f"{module}.lora_up.weight"] @ factors[f"{module}.lora_down.weight"]
    assert torch.equal(new[name], (tensors[name].half().float() + 0.5 * delta + 0.25 * delta).half())


def test_what_cannot_be_baked(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    out = workspace.root / "models" / "checkpoints"
    write_adapter(
        workspace.loras / "x.safetensors",
        {"lora_unet_nowhere.lora_down.weight": torch.ones(1, 2), "lora_unet_nowhere.lora_up.weight": torch.ones(2, 1)},
        {},
    )
    with pytest.raises(AdapterError) as told:
        use("bake", files=["x"], model="file")
    assert told.value.code == "adapter.no_match"
    make_lora("huge", size=1e19)
    with pytest.raises(ModelError) as told:
        use("bake", files=["huge:1e30"], model="file")
    assert told.value.code == "model.not_finite"
    with pytest.raises(ModelError) as told:
        use("bake", files=["huge"])
    assert told.value.values["field"] == "tool.model"
    with pytest.raises(ConfigError) as told:
        use("bake", model="file")
    assert told.value.code == "tool.nothing_to_do"
    assert list(out.iterdir()) == []


def test_an_interrupted_bake_leaves_nothing(make_lora: MakeLora, workspace: Workspace) -> None:
    make_lora("a")
    calls = []

    def stop(done: int, total: int) -> None:
        calls.append((done, total))
        if done > 20:
            raise KeyboardInterrupt

    for base in ("file", "folder"):
        config = validate(ToolConfig, {"tool": {"kind": "bake", "files": ["a"], "model": base}, "output": {"name": "made"}})
        with pytest.raises(KeyboardInterrupt):
            run(config, workspace, stop)
        assert list((workspace.root / "models" / "checkpoints").iterdir()) == [] and calls[-1][0] == 21 < calls[-1][1]
