"""The same algorithms as PEFT and LyCORIS have them, on the same layers, for the benchmark of adapters."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ["LYCORIS_KERNEL_BACKEND"] = "torch"  # the others want a compiler

import peft
from lycoris import LycorisNetwork
from torch import nn

PEFT: dict[str, Callable[[int], dict[str, Any]]] = {
    "lora": lambda rank: {"peft_type": "LORA", "r": rank, "lora_alpha": rank},
    "dora": lambda rank: {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "use_dora": True},
    "pissa": lambda rank: {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "init_lora_weights": "pissa_niter_4"},
    "loha": lambda rank: {"peft_type": "LOHA", "r": rank, "alpha": rank},
    "lokr": lambda rank: {"peft_type": "LOKR", "r": rank, "alpha": rank},
    "ia3": lambda rank: {"peft_type": "IA3", "feedforward_modules": []},
    "adalora": lambda rank: {"peft_type": "ADALORA", "init_r": rank, "lora_alpha": rank, "total_step": 1000},
    "vera": lambda rank: {"peft_type": "VERA", "r": rank},
    "miss": lambda rank: {"peft_type": "MISS", "r": rank},
    "hira": lambda rank: {"peft_type": "HIRA", "r": rank},
    "delora": lambda rank: {"peft_type": "DELORA", "r": rank},
}
"""Algorithm -> PEFT's config at a rank. Its OFT turns inputs, its BOFT has one stage on a CPU, its GLoRA more terms: other algorithms."""

LINEAR_ONLY = {"pissa", "adalora", "vera", "miss", "delora"}
"""What PEFT does not have, or not right, on convolutions."""

LYCORIS: dict[str, dict[str, Any]] = {
    "lora": {"network_module": "locon"},
    "dora": {"network_module": "locon", "weight_decompose": True, "wd_on_out": True},
    "loha": {"network_module": "loha"},
    "lokr": {"network_module": "lokr"},
    "oft": {"network_module": "diag-oft", "constraint": 0.0, "rescaled": False},
    "boft": {"network_module": "boft", "constraint": 0.0, "rescaled": False},
    "ia3": {"network_module": "ia3"},
    "glora": {"network_module": "glora"},
    "dylora": {"network_module": "dylora", "block_size": 1},
    "tlora": {"network_module": "tlora"},
    "full": {"network_module": "full"},
}
"""Algorithm -> LyCORIS' arguments. Its T-LoRA does not run on 3x3 convolutions."""

BLOCK_SIZE = 8
"""Channels that OFT and BOFT rotate together."""


def with_peft(model: nn.Module, algorithm: str, rank: int, paths: list[str], convolutions: bool) -> list[nn.Parameter] | None:
    """Put PEFT's adapters into the model; what learns, or None where it has no such algorithm."""
    if algorithm not in PEFT or (convolutions and algorithm in LINEAR_ONLY):
        return None
    settings = PEFT[algorithm](rank)
    config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[settings.pop("peft_type")](target_modules=paths, **settings)
    # VeRA shares what it does not train through the object that injects it.
    (peft.get_peft_model if algorithm == "vera" else _inject)(model, config)  # type: ignore[operator]
    return learning(model)


def _inject(model: nn.Module, config: peft.PeftConfig) -> None:
    peft.inject_adapter_in_model(config, model)


def with_lycoris(model: nn.Module, algorithm: str, rank: int, convolutions: bool) -> list[nn.Parameter] | None:
    """Put LyCORIS' adapters beside the model; what learns, or None where it has no such algorithm."""
    if algorithm not in LYCORIS or (convolutions and algorithm == "tlora"):
        return None
    size = BLOCK_SIZE if algorithm in ("oft", "boft") else rank
    LycorisNetwork.apply_preset({"enable_conv": True, "target_module": [type(model).__name__], "target_name": []})
    network = LycorisNetwork(
        model, lora_dim=size, alpha=size, conv_lora_dim=size, conv_alpha=size,
        bypass_mode=convolutions and algorithm == "lora", **LYCORIS[algorithm],
    )  # fmt: skip
    network.apply_to()
    model.__dict__["_lycoris"] = network  # kept alive with the model, not part of it
    return learning(network)


def learning(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn, in float32 as training has them."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.data = parameter.data.float()
    return parameters
