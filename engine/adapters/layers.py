"""The layers that carry adapters: their tensors, and what a change of these does to their output.

Quantised layers, which are kinds of Linear too, give their weight dequantised, one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Base = Mapping[str, Tensor]
"""A layer's own tensors: `weight` and, where it has one, `bias`."""


def base_tensors(layer: nn.Module) -> dict[str, Tensor]:
    """The layer's `weight` and, where it has one, `bias`, in a floating-point format."""
    tensors = {name: tensor for name, tensor in layer._parameters.items() if tensor is not None}
    if not tensors["weight"].is_floating_point():
        tensors["weight"] = layer.dequantised(torch.float32)  # type: ignore[assignment, operator]
    return tensors  # type: ignore[return-value]


def change_of_output(layer: nn.Module, x: Tensor, change: Base) -> Tensor:
    """What a change of weight and bias adds to the output: the layer itself at the change, since it is linear in them.

    A change of the bias alone comes out in a shape that broadcasts over the output.
    """
    weight, bias = change.get("weight"), change.get("bias")
    if weight is None:
        return on_channels(layer, change["bias"], x)
    x = x.to(weight.dtype)
    if isinstance(layer, nn.Conv2d):
        return layer._conv_forward(x, weight, bias)  # its stride, padding and dilation, circular padding too
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
    assert isinstance(layer, nn.GroupNorm)
    return F.group_norm(x, layer.num_groups, weight, bias, layer.eps)


def autocasts(x: Tensor) -> bool:
    """Whether autocast picks the number format of products with x."""
    return torch.is_autocast_enabled(x.device.type)


def format_of(x: Tensor) -> torch.dtype:
    """The number format in which a layer computes on x."""
    return torch.get_autocast_dtype(x.device.type) if autocasts(x) else x.dtype


def for_factor(x: Tensor, factor: Tensor) -> Tensor:
    """x in the number format of what it will be multiplied by, unless autocast picks one for both."""
    wanted = format_of(x) if autocasts(x) else factor.dtype
    return x if x.dtype == wanted else x.to(wanted)


def times(strength: float, change: Tensor) -> Tensor:
    return change if strength == 1 else strength * change


def add_into(y: Tensor, change: Tensor, strength: float = 1.0) -> Tensor:
    """y + strength * change, in y's own memory and number format.

    Args:
        y: a layer's output that nobody else has, and that no backward pass needs as it is now.
    """
    if (memory := memory_of(y)) is None or change.shape != y.shape:
        return torch.add(y, change.to(y.dtype), alpha=strength)
    return seen_as(y, memory.add_(change.reshape(memory.shape), alpha=strength))


def add_product_into(y: Tensor, inner: Tensor, up: Tensor, strength: float = 1.0) -> Tensor:
    """y + strength * inner @ up^T likewise, without the product ever being there: (..., C), (..., rank) and (C, rank)."""
    memory = memory_of(y)
    if memory is None or memory.dim() not in (2, 3) or inner.dtype != y.dtype:
        return add_into(y, F.linear(inner, up), strength)
    up = (up if up.dtype == y.dtype else up.to(y.dtype)).mT  # autocast does not look at what is written in place
    if memory.dim() == 2:
        return seen_as(y, memory.addmm_(inner.reshape(len(memory), -1), up, alpha=strength))
    return memory.baddbmm_(inner, up.expand(len(memory), -1, -1), alpha=strength)


def memory_of(y: Tensor) -> Tensor | None:
    """The tensor through which all of y can be overwritten; None where it had better not be.

    A Linear with a bias gives its rows seen in x's shape. Written to through that view, autograd would copy the gradient.
    """
    if torch.compiler.is_compiling():  # a compiler plans memory by itself
        return None
    if y._base is None:
        return y
    return y._base if y._base.numel() == y.numel() and y.is_contiguous() else None


def seen_as(y: Tensor, memory: Tensor) -> Tensor:
    return memory if memory.shape == y.shape else memory.view(y.shape)


def channel_axis(layer: nn.Module) -> int:
    """Where the channels of the layer's inputs and outputs are: (B, C, H, W) or (B, ..., C)."""
    return 1 if isinstance(layer, nn.Conv2d | nn.GroupNorm) else -1


def on_channels(layer: nn.Module, vector: Tensor, like: Tensor) -> Tensor:
    """A number per channel, (C,), shaped so that it broadcasts over the layer's inputs or outputs."""
    size = [1] * like.dim()
    size[channel_axis(layer)] = -1
    return vector.view(size)


def without_bias(layer: nn.Module, y: Tensor) -> Tensor:
    """The layer's output before its bias was added: the product of weight and input."""
    return y if layer.bias is None else y - on_channels(layer, layer.bias, y)  # type: ignore[arg-type]
