"""What is written in PEFT's spelling gives the same model in diffusers and reads back here bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoHaConfig, LoKrConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.adapters.network import Network
from engine.config.adapter import LayerOptions, LohaOptions, LokrOptions, LoraOptions, OftOptions
from engine.config.targets import choose
from engine.errors import AdapterError
from engine.families.base import adaptable_layers
from engine.formats.adapter_file import AdapterFile, read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.formats.kohya_tensors import kohya_tensors
from engine.formats.peft_writer import peft_tensors
from tests.support.layers import randomised
from tests.support.targets import targets
from tests.support.tiny import tiny_parts

LORA = LoraOptions(rank=4, alpha=2, train_text_encoder=True)
CASES: dict[str, LoraOptions] = {
    "lora": LORA,
    "locon": LoraOptions(rank=4, alpha=2, conv_rank=3, conv_alpha=6, train_text_encoder=True),
    "every layer, ranks of their own": LoraOptions(
        rank=4, alpha=2, targets="full", train_text_encoder=True, rules=["*.attn2.*: rank=2 alpha=6", "*.mlp.*: rank=5"]
    ),
    "dora": LoraOptions(rank=4, alpha=2, conv_rank=3, decompose="outputs", train_text_encoder=True),
}


@pytest.fixture
def parts() -> dict:
    return tiny_parts()


def network_of(parts: dict, options: LayerOptions) -> Network:
    layers = adaptable_layers("sd1", {name: parts[name] for name in ("unet", "text_encoder")})
    return randomised(Network.create("sd1", components(parts), choose(layers, options), seed=3), 0.1)


def components(parts: dict) -> dict[str, nn.Module]:
    return {"unet": parts["unet"], "text_encoder": parts["text_encoder"]}


@torch.no_grad()
def outputs(parts: dict) -> Iterator[Tensor]:
    """What the U-Net and the text encoder give for something fixed."""
    generator = torch.Generator().manual_seed(1)
    noise, words = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 77, 32, generator=generator)
    yield parts["unet"](noise, torch.tensor([500]), words).sample
    yield parts["text_encoder"](torch.arange(20)[None])[0]


def read_back(path: Path, network: Network, spelling: str) -> AdapterFile:
    modules = {name: network.adapters[name].tensors() for name in network.refs}
    if spelling == "kohya":
        write_adapter(path, kohya_tensors(modules, "sd1"), {})
    else:
        write_adapter(path, *peft_tensors(modules, "sd1"))
    return read_adapter(path)


@pytest.mark.parametrize(("case", "spelling"), [*((case, "peft") for case in CASES), ("lora", "kohya"), ("locon", "kohya")])
def test_diffusers_gives_the_same_output(tmp_path: Path, parts: dict, case: str, spelling: str) -> None:
    network = network_of(parts, CASES[case])
    file = read_back(tmp_path / "x.safetensors", network, spelling)
    plain = list(outputs(parts))
    network.insert(components(parts))
    ours = list(outputs(parts))
    network.remove()
    pipe = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.load_lora_weights(str(file.path))
    for own, their, before in zip(ours, outputs(parts), plain, strict=True):
        assert (own - before).abs().max() > 0.01
        torch.testing.assert_close(their, own, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_it_reads_back_bit_for_bit(tmp_path: Path, parts: dict, case: str) -> None:
    network = network_of(parts, CASES[case])
    file = read_back(tmp_path / "x.safetensors", network, "peft")
    assert file.format == "peft"
    again = Network.from_file(file, components(parts), "sd1")
    assert again.refs == network.refs and not again.match.unmatched
    wanted, found = network.tensors(), again.tensors()
    assert wanted.keys() == found.keys() == kohya_tensors(file.modules, "sd1").keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


@pytest.mark.parametrize(
    ("options", "algorithm"),
    [
        (LohaOptions(rank=2), "loha"),
        (LokrOptions(rank=2), "lokr"),
        (OftOptions(block_size=4), "oft"),
        (LoraOptions(rank=2, conv_rank=2, tucker=True), "lora"),
        (LoraOptions(rank=2, decompose="inputs"), "dora"),
        (LoraOptions(rank=2, decompose="outputs", rules=["*.to_q: decompose=off"]), "dora"),
    ],
)
def test_what_peft_cannot_express_is_refused_by_name(parts: dict, options: LayerOptions, algorithm: str) -> None:
    network = network_of(parts, options)
    with pytest.raises(AdapterError) as caught:
        peft_tensors({name: network.adapters[name].tensors() for name in network.refs}, "sd1")
    assert caught.value.code == "adapter.cannot_convert" and caught.value.values["algorithm"] == algorithm


def test_a_name_without_a_path_is_refused() -> None:
    modules = {
        "lora_unet_double_blocks_0_img_attn_qkv": {"lora_down.weight": torch.ones(2, 3), "lora_up.weight": torch.ones(3, 2)}
    }
    with pytest.raises(AdapterError, match="cannot be told"):
        peft_tensors(modules, "sd1")


class Block(nn.Module):
    """Layers under names of a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.mid_block = nn.ModuleDict({"proj_in": nn.Linear(12, 8), "conv1": nn.Conv2d(12, 6, 3)})


WHERE = {"target_modules": ["proj_in", "conv1"], "init_weights": False}
PEFT_CASES = {
    "loha": (LoHaConfig(r=3, alpha=2, **WHERE), LohaOptions(rank=3, alpha=2)),
    "loha tucker": (LoHaConfig(r=3, alpha=2, use_effective_conv2d=True, **WHERE), LohaOptions(rank=3, alpha=2, tucker=True)),
    "lokr": (LoKrConfig(r=1, alpha=2, **WHERE), LokrOptions(rank=1, alpha=2)),
    "lokr both": (LoKrConfig(r=1, alpha=2, decompose_both=True, **WHERE), LokrOptions(rank=1, alpha=2, decompose_both=True)),
    "lokr tucker": (LoKrConfig(r=1, alpha=2, use_effective_conv2d=True, **WHERE), LokrOptions(rank=1, alpha=2, tucker=True)),
}


@torch.no_grad()
def through(block: nn.Module) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    layers = {name.rpartition(".")[2]: layer for name, layer in block.named_modules() if name.endswith(("proj_in", "conv1"))}
    return [
        layers["proj_in"](torch.randn(2, 12, generator=generator)),
        layers["conv1"](torch.randn(1, 12, 5, 5, generator=generator)),
    ]


@pytest.mark.parametrize("case", PEFT_CASES)
def test_peft_reads_our_loha_and_lokr(case: str) -> None:
    """Names, shapes and scale are the same, as long as one of LoKr's matrices has a rank."""
    config, options = PEFT_CASES[case]
    block = Block()
    chosen = targets({"unet": ["mid_block.proj_in", "mid_block.conv1"]}, options)
    network = randomised(Network.create("sd1", {"unet": block}, chosen, seed=1))
    network.insert({"unet": block})
    ours = through(block)
    network.remove()
    state = {
        f"base_model.model.{ref.path}.{suffix}": tensor
        for name, ref in network.refs.items()
        for suffix, tensor in network.adapters[name].tensors().items()
        if suffix != "alpha"
    }
    model = get_peft_model(block, config)
    loaded = set_peft_model_state_dict(model, state)
    assert not loaded.unexpected_keys
    torch.testing.assert_close(through(model), ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [*PEFT_CASES, "lokr whole"])
def test_peft_s_loha_and_lokr_are_read(tmp_path: Path, case: str) -> None:
    whole = LoKrConfig(r=16, alpha=4, alpha_pattern={"conv1": 32}, **WHERE)
    config = PEFT_CASES[case][0] if case in PEFT_CASES else whole
    block = Block()
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = get_peft_model(block, config).eval()
    theirs = through(model)
    model.save_pretrained(tmp_path)
    block = model.unload()
    network = Network.from_file(read_adapter(tmp_path / "adapter_model.safetensors"), {"unet": block}, "sd1")
    assert network.match.matched == network.match.total == 2
    network.eval().insert({"unet": block})
    torch.testing.assert_close(through(block), theirs, rtol=1e-5, atol=1e-5)


def test_a_peft_file_without_its_options_has_the_rank_for_alpha(tmp_path: Path) -> None:
    save_file(
        {f"base_model.model.a.hada_w{n}": torch.ones(3, 3) for n in ("1_a", "1_b", "2_a", "2_b")}, tmp_path / "x.safetensors"
    )
    assert read_adapter(tmp_path / "x.safetensors").modules["base_model.model.a"]["alpha"].item() == 3
