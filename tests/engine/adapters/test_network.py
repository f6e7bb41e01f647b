"""A network and its model: files from elsewhere, refusals, counts. The base is unchanged by whatever is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.errors import AdapterError, ConfigError, EngineError
from engine.formats.adapter_file import read_adapter
from tests.support.targets import targets


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.conv, self.norm = nn.Linear(6, 6), nn.Conv2d(6, 8, 3), nn.LayerNorm(6)


FUSED = "lora_unet_double_blocks_0_img_attn_qkv"


@pytest.fixture
def flux() -> dict[str, nn.Module]:
    """Named as in FLUX, whose files have q, k and v in one."""
    attention = nn.ModuleDict({f"to_{part}": nn.Linear(6, 8) for part in "qkv"})
    return {"transformer": nn.ModuleDict({"transformer_blocks": nn.ModuleList([nn.ModuleDict({"attn": attention})])})}


@pytest.fixture
def components() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"unet": nn.ModuleDict({"mid_block": Block()}), "text_encoder": nn.ModuleDict({"encoder": Block()})}


TARGETS = {"text_encoder": ["encoder.to_q"], "unet": ["mid_block.to_q", "mid_block.conv"]}


def pair(module: str, inputs: int = 6, outputs: int = 6) -> dict[str, torch.Tensor]:
    return {f"{module}.lora_down.weight": torch.ones(2, inputs), f"{module}.lora_up.weight": torch.ones(outputs, 2)}


def load(path: Path, tensors: dict[str, torch.Tensor], components: dict[str, nn.Module]) -> Network:
    save_file(tensors, path)
    return Network.from_file(read_adapter(path), components, "sd1")


def test_names_counts_and_parameters(components: dict[str, nn.Module]) -> None:
    network = Network.create("sd1", components, targets(TARGETS, LoraOptions(rank=4, conv_rank=2)), seed=0)
    assert list(network.refs) == ["lora_te_text_model_encoder_to_q", "lora_unet_mid_block_to_q", "lora_unet_mid_block_conv"]
    assert network.counts() == {"text_encoder": 1, "unet": 2}
    assert network.match.matched == network.match.total == 3
    assert len(network.tensors()) == 9 and len(list(network.parameters())) == 6
    groups = {component: network.param_groups(component) for component in ("text_encoder", "unet")}
    assert {key: len(group) for key, group in groups["text_encoder"].items()} == {(1.0, False): 1, (1.0, True): 1}
    assert {id(p) for part in groups.values() for group in part.values() for p in group} == {id(p) for p in network.parameters()}


def test_a_seed_gives_the_same_network(components: dict[str, nn.Module]) -> None:
    one, two, other = (
        Network.create("sd1", components, targets(TARGETS, LoraOptions(conv_rank=4)), seed).tensors() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_layers_that_a_file_has_in_one(flux: dict[str, nn.Module], tmp_path: Path) -> None:
    """The file's module counts once; each layer has its own adapter, and a run can go on from the file."""
    chosen = targets({"transformer": [f"transformer_blocks.0.attn.to_{part}" for part in "qkv"]}, LoraOptions(rank=2, alpha=0.3))
    network = Network.create("flux", flux, chosen, seed=0)
    for adapter in network.adapters.values():
        nn.init.normal_(adapter.lora_up.weight)
    save_file(network.tensors(), tmp_path / "x.safetensors")
    again = Network.from_file(read_adapter(tmp_path / "x.safetensors"), flux, "flux")
    assert {key.split(".")[0] for key in network.tensors()} == {FUSED}
    assert again.match.matched == again.match.total == 1 and again.counts() == {"transformer": 3}
    other = Network.create("flux", flux, chosen, seed=1)
    other.begin_from(again)
    assert all(torch.equal(tensor, network.tensors()[name]) for name, tensor in other.tensors().items())


def test_what_cannot_be_taken_apart_is_refused_with_the_reason(flux: dict[str, nn.Module], tmp_path: Path) -> None:
    tensors = {f"{FUSED}.lokr_w1": torch.ones(4, 3), f"{FUSED}.lokr_w2": torch.ones(6, 2)}
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(AdapterError) as caught:
        Network.from_file(read_adapter(tmp_path / "x.safetensors"), flux, "flux")
    assert caught.value.code == "adapter.cannot_split"
    assert caught.value.values["module"] == FUSED and caught.value.values["algorithm"] == "lokr"


def test_strengths_are_one_for_every_component(flux: dict[str, nn.Module]) -> None:
    network = Network.create(
        "flux", flux, targets({"transformer": ["transformer_blocks.0.attn.to_q"]}, LoraOptions(rank=2)), seed=0
    )
    assert network.strengths == {"transformer": 1.0}


def test_a_file_of_another_architecture_is_refused(components: dict[str, nn.Module], tmp_path: Path) -> None:
    names = list(components["unet"].state_dict())
    with pytest.raises(AdapterError) as caught:
        load(tmp_path / "flux.safetensors", pair("lora_unet_double_blocks_0_img_attn_qkv"), components)
    assert caught.value.code == "adapter.no_match" and caught.value.values["total"] == 1
    assert list(components["unet"].state_dict()) == names and "forward" not in components["unet"]["mid_block"].to_q.__dict__


def test_a_wrong_shape_is_refused_with_the_module(components: dict[str, nn.Module], tmp_path: Path) -> None:
    with pytest.raises(AdapterError) as caught:
        load(tmp_path / "x.safetensors", pair("lora_unet_mid_block_to_q", inputs=768), components)
    assert caught.value.code == "adapter.wrong_shape" and caught.value.values["module"] == "lora_unet_mid_block_to_q"
    assert "768" in caught.value.what


def test_a_partial_match_is_counted(components: dict[str, nn.Module], tmp_path: Path) -> None:
    tensors = pair("lora_unet_mid_block_to_q") | pair("lora_unet_mid_block_to_z") | pair("lora_te2_text_model_x")
    match = load(tmp_path / "x.safetensors", tensors, components).match
    assert (match.matched, match.total) == (1, 3)
    assert set(match.unmatched) == {"lora_unet_mid_block_to_z", "lora_te2_text_model_x"}


@pytest.mark.parametrize("spelling", ["unet.mid_block.to_q", "base_model.model.mid_block.to_q", "lycoris_mid_block_to_q"])
def test_other_spellings_come_out_in_kohyas(components: dict[str, nn.Module], tmp_path: Path, spelling: str) -> None:
    network = load(tmp_path / "x.safetensors", pair(spelling), components)
    assert set(network.tensors()) == {f"lora_unet_mid_block_to_q.{s}" for s in ("lora_down.weight", "lora_up.weight", "alpha")}


def test_one_module_under_two_names_is_refused(components: dict[str, nn.Module], tmp_path: Path) -> None:
    with pytest.raises(AdapterError) as caught:
        load(tmp_path / "x.safetensors", pair("unet.mid_block.to_q") | pair("lora_unet_mid_block_to_q"), components)
    assert caught.value.code == "adapter.module_twice"


def test_tensors_of_two_algorithms_in_one_module_are_refused(components: dict[str, nn.Module], tmp_path: Path) -> None:
    tensors = pair("lora_unet_mid_block_to_q") | {"lora_unet_mid_block_to_q.hada_t1": torch.ones(2, 2, 3, 3)}
    with pytest.raises(AdapterError) as caught:
        load(tmp_path / "x.safetensors", tensors, components)
    assert caught.value.code == "adapter.algorithm"


def test_a_layer_that_an_algorithm_cannot_adapt_is_named(components: dict[str, nn.Module]) -> None:
    with pytest.raises(ConfigError) as caught:
        Network.create("sd1", components, targets({"unet": ["mid_block.norm"]}, LoraOptions()), seed=0)
    assert caught.value.code == "config.layer" and "mid_block.norm" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[:-3], "file.truncated"),
        (lambda data: data[:4], "file.truncated"),
        (lambda data: b"<html>" + data, "file.not_safetensors"),
        (lambda data: data[:-4] + b"\x00\x00\xc0\x7f", "adapter.not_finite"),
    ],
    ids=["cut", "stub", "web page", "NaN"],
)
def test_broken_files_say_how(components: dict[str, nn.Module], tmp_path: Path, change, code: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file(pair("lora_unet_mid_block_to_q"), path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(EngineError) as caught:
        Network.from_file(read_adapter(path), components, "sd1")
    assert caught.value.code == code and "x.safetensors" in caught.value.what
