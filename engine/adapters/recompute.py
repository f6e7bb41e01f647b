"""A layer at weights that are made on the spot, and made again in the backward pass instead of kept.

Kept, the changes of all layers would need the memory of a second model, and what they are made of more than that; made again
they cost a product of thin factors (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 4). In the end
they are rounded to the format that the layer computes in; until then they are float32 whatever autocast says, since what
is the difference of large numbers would be lost, unless whoever makes them lets autocast have its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.adapters.layers import Base, autocasts, change_of_output, format_of

SMALL = 2**14
"""Weights of fewer numbers (64 KiB) are kept: avoiding them takes longer than they weigh."""


def layer_at(
    layer: nn.Module, x: Tensor, weights: Callable[[], Base], parameters: Iterable[nn.Parameter], exact: bool = True
) -> Tensor:
    """What comes out of the layer if `weights()` are its weights: of a change, what this adds to the output.

    Args:
        weights: makes weight and bias from `parameters` and constants, the same ones until the backward pass is done.
        parameters: what learns in them.
        exact: make them in float32 under autocast too.
    """
    if not isinstance(layer, nn.Linear | nn.Conv2d):  # normalisation has vectors, and computes in float32
        with in_full_precision(x):
            return change_of_output(layer, x, weights())
    format = format_of(x) if autocasts(x) and not exact else None
    x = x.to(format_of(x))
    if torch.is_grad_enabled() and _has_gradients(layer, x):
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        if learning:
            return _Remade.apply(layer, weights, format, x, *learning)
    return change_of_output(layer, x, _made(weights, x, format)[1])


def _has_gradients(layer: nn.Module, x: Tensor) -> bool:
    """Whether `gradients` covers the case, and it pays. A compiler decides by itself what it keeps."""
    plain = isinstance(layer, nn.Linear) or (
        x.dim() == 4 and not isinstance(layer.padding, str) and layer.padding_mode == "zeros"
    )
    return plain and layer.weight.numel() >= SMALL and not torch.compiler.is_compiling()


def in_full_precision(x: Tensor) -> AbstractContextManager:
    return torch.autocast(x.device.type, enabled=False) if autocasts(x) else nullcontext()


def _made(weights: Callable[[], Base], x: Tensor, format: torch.dtype | None) -> tuple[Base, Base]:
    """The weights as they are made, with autocast to `format` or none, and in x's format."""
    with torch.autocast(x.device.type, format) if format else in_full_precision(x):
        made = weights()
    return made, {name: tensor.to(x.dtype) for name, tensor in made.items()}


class _Remade(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layer: nn.Module, weights: Callable[[], Base], format: torch.dtype | None, x: Tensor, *learning: nn.Parameter
    ) -> Tensor:
        ctx.layer, ctx.weights, ctx.format = layer, weights, format
        ctx.save_for_backward(x, *learning)
        return change_of_output(layer, x, _made(weights, x, format)[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *learning = ctx.saved_tensors
        with torch.enable_grad():
            made, rounded = _made(ctx.weights, x, ctx.format)
        of_x, of_made = gradients(ctx.layer, x, rounded, grad, ctx.needs_input_grad[3])
        moving = [name for name, tensor in made.items() if tensor.requires_grad]
        tensors, grads = [made[name] for name in moving], [of_made[name].to(made[name].dtype) for name in moving]
        of_learning = torch.autograd.grad(tensors, learning, grads, allow_unused=True)
        return None, None, None, of_x, *of_learning


def gradients(layer: nn.Module, x: Tensor, weights: Base, grad: Tensor, through: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
    """The gradients of x (if wanted, `through`) and of `weights`, from that of the layer's output."""
    weight, with_bias = weights.get("weight"), "bias" in weights
    if weight is None:
        return (torch.zeros_like(x) if through else None), {"bias": grad.flatten()}
    if isinstance(layer, nn.Conv2d):
        of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
            grad, x, weight, [len(weight)] if with_bias else None, layer.stride, layer.padding, layer.dilation,
            False, [0, 0], 1, [through, True, with_bias],
        )  # fmt: skip
    else:
        rows = grad.reshape(-1, grad.shape[-1])
        of_x = grad @ weight if through else None
        of_weight = rows.mT @ x.reshape(-1, x.shape[-1])
        of_bias = rows.sum(0) if with_bias else None
    return of_x, {"weight": of_weight} | ({"bias": of_bias} if with_bias else {})
