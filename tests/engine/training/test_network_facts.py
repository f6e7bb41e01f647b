"""What a file says about its network, for every algorithm: Kohya's module, LyCORIS' arguments, ranks as they are in the file."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.adapters.network import Network
from engine.config.adapter import OPTIONS, LayerOptions, LoraOptions
from engine.training.network_facts import network_facts
from tests.support.adapter_cases import CASES
from tests.support.targets import targets


def block() -> nn.ModuleDict:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = {"to_q": nn.Linear(12, 12), "conv1": nn.Conv2d(12, 12, 3), "norm": nn.LayerNorm(12)}
        return nn.ModuleDict({"mid_block": nn.ModuleDict(layers)})


def facts_of(options: LayerOptions, *paths: str) -> dict:
    chosen = targets({"unet": [f"mid_block.{path}" for path in paths or ("to_q", "conv1")]}, options)
    return network_facts(options, Network.create("sd1", {"unet": block()}, chosen, seed=0).tensors())


LYCORIS = {
    "dora": {"algo": "locon", "dora_wd": "True", "wd_on_output": "True"},
    "dora inputs": {"algo": "locon", "dora_wd": "True", "wd_on_output": "False"},
    "lora tucker": {"algo": "locon", "use_tucker": "True"},
    "loha": {"algo": "loha", "conv_dim": "2"},
    "lokr factor": {"algo": "lokr", "factor": "1"},
    "lokr full": {"algo": "lokr", "full_matrix": "True"},
    "ia3 input": {"algo": "ia3", "train_on_input": "True"},
    "coft": {"algo": "diag-oft", "constraint": "0.05"},
    "boft rescaled": {"algo": "boft", "rescaled": "True"},
    "glora": {"algo": "glora", "preset": "attn-mlp"},
    "full": {"algo": "full"},
}


@pytest.mark.parametrize("case", LYCORIS)
def test_lycoris_algorithms(case: str) -> None:
    facts = facts_of(CASES[case])
    assert facts["network_module"] == "lycoris.kohya" and LYCORIS[case].items() <= facts["network_args"].items()


@pytest.mark.parametrize(
    ("options", "module", "args"),
    [
        (LoraOptions(rank=4), "networks.lora", {}),
        (LoraOptions(rank=4, conv_rank=2, conv_alpha=1), "networks.lora", {"conv_dim": "2", "conv_alpha": "1.0"}),
        (LoraOptions(rank=4, freeze_down=True), "networks.lora_fa", {}),
        (
            LoraOptions(rank=4, rank_dropout=0.1, module_dropout=0.2),
            "networks.lora",
            {"rank_dropout": "0.1", "module_dropout": "0.2"},
        ),
        (LoraOptions(rank=4, targets="full"), "networks.lora", {"conv_dim": "4", "conv_alpha": "16.0"}),
    ],
)
def test_plain_lora(options: LoraOptions, module: str, args: dict) -> None:
    facts = facts_of(options)
    assert (facts["network_module"], facts["network_args"], facts["network_dim"]) == (module, args, 4)


@pytest.mark.parametrize("case", [case for case, options in CASES.items() if options.kind != "norm"])  # type: ignore[attr-defined]
def test_every_algorithm_has_facts_of_plain_types(case: str) -> None:
    facts = facts_of(CASES[case])
    assert all(isinstance(value, str) for value in facts["network_args"].values())
    assert facts["network_module"] in (
        "networks.lora", "networks.lora_fa", "networks.dylora", "lycoris.kohya", "engine.adapters.hira",
    )  # fmt: skip
    if facts["network_module"] == "networks.lora" and CASES[case].kind != "lora":  # type: ignore[attr-defined]
        assert facts["network_args"]["trained_as"] == CASES[case].kind  # type: ignore[attr-defined]


def test_every_kind_of_options_is_known() -> None:
    """Also where its algorithm writes nothing yet: no field is asked for that one of them lacks."""
    for options in OPTIONS.values():
        assert network_facts(options(), {})["network_dim"] in (16, 8, None)


def test_ranks_are_those_of_the_file() -> None:
    options = LoraOptions(rank=4, alpha=2)
    tensors = Network.create("sd1", {"unet": block()}, targets({"unet": ["mid_block.to_q"]}, options), seed=0).tensors()
    wider = {"lora_down.weight": torch.ones(8, 3), "lora_up.weight": torch.ones(3, 8), "alpha": torch.tensor(3.0)}
    wider = {f"lora_unet_x.{suffix}": tensor for suffix, tensor in wider.items()}
    assert network_facts(options, tensors)["network_dim"] == 4
    assert (facts := network_facts(options, wider))["network_dim"] == 8 and facts["network_alpha"] == 3
    mixed = network_facts(options, tensors | wider)
    assert mixed["network_dim"] == mixed["network_alpha"] == "Dynamic"


def test_normalisation_layers_make_it_a_lycoris_file() -> None:
    options = LoraOptions(rank=4, train_norms=True)
    tensors = Network.create("sd1", {"unet": block()}, targets({"unet": ["mid_block.to_q"]}, options), seed=0).tensors()
    facts = network_facts(options, tensors | {"lora_unet_mid_block_norm.w_norm": torch.zeros(12)})
    assert facts["network_module"] == "lycoris.kohya" and facts["network_args"]["train_norm"] == "True"
