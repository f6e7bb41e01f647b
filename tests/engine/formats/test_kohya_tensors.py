"""Files of every family, held against diffusers on tiny models of the real classes: theirs are read here, ours there.

diffusers has no converter for SD3 in Kohya's names, and takes FLUX's single blocks at their published widths only; the first goes
through PEFT's spelling, the second is read back here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

from engine.adapters.network import Network
from engine.config.adapter import LayerOptions, LohaOptions, LoraOptions
from engine.config.targets import choose
from engine.families.base import adaptable_layers
from engine.formats.adapter_file import AdapterFile, read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.formats.kohya_tensors import kohya_names, kohya_tensors, taken_apart
from engine.formats.models import MODELS
from engine.formats.peft_writer import peft_tensors
from engine.formats.suffixes import split_key
from engine.tiny.pipeline import tiny_pipeline
from tests.support.layers import randomised
from tests.support.networks import predict

CONFIGS = {"sd1": "sd1", "sdxl": "sdxl", "sd3": "sd35_medium", "flux": "flux_dev", "z_image": "z_image"}
DENOISER_KINDS = {"sd1": "unet", "sdxl": "unet of SDXL"}
RULES = {
    "sd1": ["*.to_k: rank=2 alpha=3", "*.k_proj: rank=5"],
    "sd3": ["*.to_k: rank=2 alpha=3", "*.add_q_proj: off", "*.k_proj: rank=5"],
    "z_image": ["*.to_k: rank=2 alpha=3"],
}
RULES |= {"sdxl": RULES["sd1"], "flux": RULES["sd3"]}
"""Siblings of several ranks and scales, and one that does not learn."""


@pytest.fixture(scope="module", params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def pipe(family: str) -> Any:
    return tiny_pipeline(family, CONFIGS[family])


def components_of(pipe: Any, family: str) -> dict[str, nn.Module]:
    return {name: getattr(pipe, name) for name in MODELS[family].trained}


def network_of(pipe: Any, family: str, options: LayerOptions) -> Network:
    parts = components_of(pipe, family)
    return randomised(Network.create(family, parts, choose(adaptable_layers(family, parts), options), seed=3), 0.1)


@torch.no_grad()
def outputs(pipe: Any, family: str) -> dict[str, Tensor]:
    """What every part that adapters may change gives for something fixed."""
    kinds = {name: MODELS[family].parts[name].kind for name in MODELS[family].trained}
    kinds |= {MODELS[family].denoiser: DENOISER_KINDS.get(family, family)}
    return {name: predict(kind, getattr(pipe, name)) for name, kind in kinds.items()}


def with_network(pipe: Any, family: str, network: Network) -> dict[str, Tensor]:
    network.eval().insert(components_of(pipe, family))
    found = outputs(pipe, family)
    network.remove()
    return found


def assert_close(one: Mapping[str, Tensor], other: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> None:
    """The same, and not what comes out without an adapter."""
    for name, wanted in other.items():
        assert (wanted - plain[name]).abs().max() > 0.01, name
        torch.testing.assert_close(one[name], wanted, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def saved(path: Path, network: Network) -> AdapterFile:
    write_adapter(path, network.tensors(), {})
    return read_adapter(path)


CASES: dict[str, LayerOptions] = {
    "lora": LoraOptions(rank=3, alpha=2, targets="full", conv_rank=2, train_text_encoder=True, train_t5=True),
    "dora": LoraOptions(rank=2, decompose="outputs", train_text_encoder=True, train_t5=True),
    "loha": LohaOptions(rank=2, train_text_encoder=True, train_t5=True),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_saved_reads_back(tmp_path: Path, pipe: Any, family: str, case: str) -> None:
    """The same output, and saved again the same tensors to the bit."""
    rules = RULES[family] if case == "lora" else []
    network = network_of(pipe, family, CASES[case].model_copy(update={"rules": rules}))
    again = Network.from_file(saved(tmp_path / "x.safetensors", network), components_of(pipe, family), family)
    assert again.refs.keys() == network.refs.keys() and not again.match.unmatched
    assert again.parameter_counts() == network.parameter_counts()
    assert again.match.matched == again.match.total == len({split_key(key)[0] for key in network.tensors()})  # type: ignore[index]
    assert_close(with_network(pipe, family, again), with_network(pipe, family, network), outputs(pipe, family))
    wanted, found = network.tensors(), again.tensors()
    assert wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)


DIFFUSERS_READS = {
    "sd1": LoraOptions(rank=3, alpha=2, targets="full", train_text_encoder=True),
    # of several alphas it takes one for all attention of a U-Net
    "sdxl": LoraOptions(rank=3, alpha=2, targets="full", train_text_encoder=True, rules=["*.to_k: rank=4"]),
    "flux": LoraOptions(rank=3, alpha=2, train_text_encoder=True, rules=[*RULES["flux"], "*.single_transformer_blocks.*: off"]),
    "sd3": LoraOptions(rank=3, alpha=2),
    "z_image": LoraOptions(rank=3, alpha=2, rules=RULES["z_image"]),
}


def test_diffusers_reads_our_files(tmp_path: Path, pipe: Any, family: str) -> None:
    """All but SD3's, of which it loads nothing without a word: `engine.formats.compatibility` says so."""
    network = network_of(pipe, family, DIFFUSERS_READS[family])
    file = saved(tmp_path / "x.safetensors", network)
    plain, ours = outputs(pipe, family), with_network(pipe, family, network)
    pipe.load_lora_weights(str(file.path))
    theirs = outputs(pipe, family)
    pipe.unload_lora_weights()
    if family == "sd3":
        assert torch.equal(theirs["transformer"], plain["transformer"])
        return
    trained = {ref.component for ref in network.refs.values()}
    assert_close({name: theirs[name] for name in trained}, {name: ours[name] for name in trained}, plain)


def test_diffusers_reads_our_files_in_pefts_spelling(tmp_path: Path, pipe: Any, family: str) -> None:
    """Made from the fused file, without the model: q, k and v are taken apart."""
    options = LoraOptions(rank=3, alpha=2, train_text_encoder=True, rules=RULES[family])
    network = network_of(pipe, family, options)
    plain, ours = outputs(pipe, family), with_network(pipe, family, network)
    file = saved(tmp_path / "x.safetensors", network)
    write_adapter(tmp_path / "peft.safetensors", *peft_tensors(file.modules, family))
    pipe.load_lora_weights(str(tmp_path / "peft.safetensors"))
    theirs = outputs(pipe, family)
    pipe.unload_lora_weights()
    trained = {ref.component for ref in network.refs.values()}
    assert_close({name: theirs[name] for name in trained}, {name: ours[name] for name in trained}, plain)
    back = kohya_tensors(read_adapter(tmp_path / "peft.safetensors").modules, family)
    if family != "sdxl":  # there the names of blocks stay diffusers'
        wanted = network.tensors()
        assert back.keys() == wanted.keys() and all(torch.equal(back[name], wanted[name]) for name in wanted)


def test_diffusers_files_are_read(tmp_path: Path, pipe: Any, family: str) -> None:
    model, targets = MODELS[family], ["to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "proj_mlp", "linear_1"]
    trained = [name for name in model.trained if model.parts[name].kind.startswith("clip") or name == model.denoiser]
    parts = {name: getattr(pipe, name) for name in trained}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for name, part in parts.items():
            own = (
                {"lora_alpha": 2, "target_modules": targets}
                if name == model.denoiser
                else {"lora_alpha": 5, "target_modules": ["q_proj", "fc1"]}
            )
            part.add_adapter(LoraConfig(r=3, init_lora_weights=False, **own))
    theirs = outputs(pipe, family)
    layers = {f"{name}_lora_layers": get_peft_model_state_dict(part) for name, part in parts.items()}
    pipe.save_lora_weights(tmp_path, **layers, **_collate_lora_metadata(parts))
    pipe.unload_lora_weights()
    file = read_adapter(tmp_path / "pytorch_lora_weights.safetensors")
    network = Network.from_file(file, components_of(pipe, family), family)
    assert not network.match.unmatched and {ref.component for ref in network.refs.values()} == set(trained)
    plain, ours = outputs(pipe, family), with_network(pipe, family, network)
    assert_close({name: ours[name] for name in trained}, {name: theirs[name] for name in trained}, plain)


def test_what_was_put_together_is_taken_apart_and_a_whole_stays_whole() -> None:
    """Kohya's trainer has one LoRA for q, k and v; ours has three, side by side in one file."""
    name, width = "lora_unet_joint_blocks_0_x_block_attn_qkv", 8
    up = torch.zeros(3 * width, 6)
    for part in range(3):
        up[part * width : (part + 1) * width, part * 2 : part * 2 + 2] = 1.0 + part
    ours = {name: {"lora_down.weight": torch.randn(6, width), "lora_up.weight": up, "alpha": torch.tensor(6.0)}}
    apart = taken_apart(ours, "sd3")
    assert [len(parts["lora_down.weight"]) for parts in apart.values()] == [2, 2, 2]
    assert {each.name for each in kohya_names(apart, "sd3").values()} == {name}
    back = kohya_tensors(apart, "sd3")
    assert all(torch.equal(back[f"{name}.{suffix}"], tensor) for suffix, tensor in ours[name].items())
    theirs = {name: {**ours[name], "lora_up.weight": torch.ones(3 * width, 6)}}
    assert taken_apart(theirs, "sd3") == theirs
