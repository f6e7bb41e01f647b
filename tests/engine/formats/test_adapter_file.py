"""Adapters of every writer come out in one form, and broken ones are refused with the reason."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from engine.errors import AdapterError
from engine.formats.adapter_file import read_adapter
from engine.formats.names import NameIndex

MODULE = "lora_unet_mid_block_attentions_0_proj_in"


def write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file(tensors, path, metadata)
    return path


def pair(module: str = MODULE, rank: int = 2) -> dict[str, torch.Tensor]:
    return {f"{module}.lora_down.weight": torch.ones(rank, 6), f"{module}.lora_up.weight": torch.ones(5, rank)}


def refused(path: Path) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        read_adapter(path)
    assert path.name in caught.value.what
    return caught.value


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=8,
        norm_num_groups=4,
    )


def test_a_kohya_file(tmp_path: Path) -> None:
    file = read_adapter(
        write(tmp_path / "x.safetensors", {**pair(), f"{MODULE}.alpha": torch.tensor(1.0).half()}, {"ss_v2": "False"})
    )
    assert file.format == "kohya" and file.metadata == {"ss_v2": "False"}
    parts = file.modules[MODULE]
    assert parts["alpha"].item() == 1 and parts["alpha"].dtype == torch.float16
    assert parts["lora_up.weight"].shape == (5, 2)


def test_a_missing_alpha_is_the_rank(tmp_path: Path) -> None:
    assert read_adapter(write(tmp_path / "x.safetensors", pair(rank=3))).modules[MODULE]["alpha"].item() == 3


def test_the_file_can_be_replaced_while_it_is_in_use(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", pair())
    down = read_adapter(path).modules[MODULE]["lora_down.weight"]
    with path.open("r+b") as stream:
        stream.write(b"\xff" * path.stat().st_size)
    assert torch.equal(down, torch.ones(2, 6))


@pytest.mark.parametrize("rslora", [False, True])
def test_what_diffusers_saves(tmp_path: Path, unet: UNet2DConditionModel, rslora: bool) -> None:
    config = LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_out.0"], alpha_pattern={"to_out.0": 8}, use_rslora=rslora)
    unet.add_adapter(config, "x")
    state = get_peft_model_state_dict(unet, adapter_name="x")
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=state, unet_lora_adapter_metadata=config.to_dict())
    file = read_adapter(tmp_path / "pytorch_lora_weights.safetensors")
    factor = 2 if rslora else 1
    assert file.format == "peft" and len(file.modules) == len(state) // 2
    for name, parts in file.modules.items():
        assert parts["alpha"].item() == (8 if name.endswith("to_out.0") else 2) * factor
    modules = {"unet": [name for name, _ in unet.named_modules()]}
    assert not NameIndex(modules).match(file.modules)[1]


def test_what_peft_saves(tmp_path: Path, unet: UNet2DConditionModel) -> None:
    model = get_peft_model(unet, LoraConfig(r=4, lora_alpha=16, target_modules=["to_k", "conv1"], use_dora=True))
    model.save_pretrained(tmp_path)
    file = read_adapter(tmp_path / "adapter_model.safetensors")
    names = [name for name, _ in unet.named_modules()]
    found, missing = NameIndex({"unet": names}).match(file.modules)
    assert len(found) == sum(name.endswith(("to_k", "conv1")) for name in names) and not missing
    for parts in file.modules.values():
        assert parts["alpha"].item() == 16
        up = parts["lora_up.weight"]
        assert parts["dora_scale"].shape == (up.shape[0], 1, *up.shape[2:])


def test_refusals(tmp_path: Path) -> None:
    cases = {
        "adapter.not_an_adapter": {"model.diffusion_model.out.2.weight": torch.ones(2)},
        "adapter.unknown_tensor": {**pair(), f"{MODULE}.lora_left.weight": torch.ones(2)},
        "adapter.incomplete_module": {f"{MODULE}.lora_up.weight": torch.ones(5, 2)},
        "adapter.bad_shape": {**pair(), f"{MODULE}.lora_up.weight": torch.ones(5, 3)},
        "adapter.not_finite": {**pair(), f"{MODULE}.alpha": torch.tensor(float("nan"))},
    }
    for code, tensors in cases.items():
        assert refused(write(tmp_path / "x.safetensors", tensors)).code == code
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": "much"})}
    assert refused(write(tmp_path / "x.safetensors", pair("unet.mid"), metadata)).code == "adapter.bad_peft_config"


def test_a_pickle_is_read_as_weights_only(tmp_path: Path) -> None:
    torch.save(pair(), tmp_path / "x.pt")
    assert set(read_adapter(tmp_path / "x.pt").modules[MODULE]) == {"lora_down.weight", "lora_up.weight", "alpha"}

    class Attack:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "canary",)

    (tmp_path / "y.pt").write_bytes(pickle.dumps(Attack(), protocol=2))
    torch.save({"a": Attack()}, tmp_path / "z.pt")
    for name in ("y.pt", "z.pt"):
        assert refused(tmp_path / name).code == "adapter.bad_pickle"
    assert not (tmp_path / "canary").exists()
