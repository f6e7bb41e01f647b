"""Layers that carry adapters, with inputs and random parameters, to hold an algorithm against another library's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from engine.adapters.base import Adapter
from engine.adapters.layers import base_tensors

M = TypeVar("M", bound=nn.Module)
KINDS = ("linear", "conv 1x1", "conv 3x3")


def layer_of(kind: str, inputs: int = 6, outputs: int = 12) -> nn.Module:
    """A frozen layer of one of KINDS, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(inputs, outputs) if kind == "linear" else nn.Conv2d(inputs, outputs, int(kind[-1]))
    return layer.requires_grad_(False)


def inputs_of(layer: nn.Module) -> Tensor:
    """Something for a layer of 6 inputs."""
    size = (2, 5, 6) if isinstance(layer, nn.Linear | nn.LayerNorm) else (2, 6, 7, 8)
    return torch.randn(size, generator=torch.Generator().manual_seed(1))


def randomised(module: M, scale: float = 0.3) -> M:
    """The module in evaluation mode, something random added to each parameter."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.eval()


@torch.no_grad()
def adapted(layer: nn.Module, adapter: Adapter) -> Tensor:
    """What the layer with an adapter beside it gives."""
    x = inputs_of(layer)
    y = layer(x)
    return y + adapter(x, y, layer)


@torch.no_grad()
def changed(layer: nn.Module, change: Mapping[str, Tensor]) -> Tensor:
    """What the layer gives with its tensors changed."""
    tensors = base_tensors(layer)
    moved = {name: tensor + change[name] if name in change else tensor for name, tensor in tensors.items()}
    return torch.func.functional_call(layer, moved, (inputs_of(layer),))


@torch.no_grad()
def with_lycoris(layer: nn.Module, module: nn.Module) -> Tensor:
    """What the layer gives with one of LyCORIS' modules in force, which is taken out again."""
    module.eval().apply_to()  # type: ignore[operator]
    try:
        return layer(inputs_of(layer))
    finally:
        module.restore()  # type: ignore[operator]
        layer.__dict__.pop("forward", None)  # which `restore` leaves behind


@torch.no_grad()
def with_peft(layer: nn.Module, config: Any, tensors: Mapping[str, Tensor]) -> Tensor:
    """What the layer gives with PEFT's adapter of `config`, holding `tensors` under the names that PEFT has for them."""
    from peft import inject_adapter_in_model

    config.target_modules = ["0"]
    adapted = inject_adapter_in_model(config, nn.Sequential(copy.deepcopy(layer))).eval()[0]
    own = {name.replace(".default", ""): parameter for name, parameter in adapted.named_parameters() if ".default" in name}
    assert {name: parameter.shape for name, parameter in own.items()} == {name: tensor.shape for name, tensor in tensors.items()}
    for name, parameter in own.items():
        parameter.copy_(tensors[name])
    return adapted(inputs_of(layer))
