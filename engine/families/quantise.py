"""A frozen base in fewer bits, for training (QLoRA, Dettmers et al. 2023) and for pictures.

Linear layers are replaced by ones that give their outputs and the gradients of their inputs from 4 or 8 bits per weight;
convolutions, normalisation and embeddings stay as they are. Adapters do not notice: they see activations, or the weight as it
is dequantised. Weights are never dequantised for longer than one product takes, in the backward pass too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.errors import ModelError

SMALLEST = 4096
"""Weights with fewer numbers stay as they are: they would save nothing and lose precision."""


class EightBit(nn.Linear):
    """A frozen Linear layer with 8 bits per weight and one scale per row (output).

    Args:
        layer: what it replaces.
        format: what the bits mean.
        scales: (out, 1), float32.
    """

    scales: Tensor

    def __init__(self, layer: nn.Linear, format: torch.dtype, scales: Tensor) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        scaled = layer.weight.data.float() / scales
        stored = (scaled if format.is_floating_point else scaled.round()).to(format)
        # Bits as int8 whatever they mean: code that looks at the weight's format, as T5 does, would cast its input to fp8.
        self.weight = nn.Parameter(stored.view(torch.int8), requires_grad=False)
        self.bias = layer.bias
        self.register_buffer("scales", scales)
        self.format, self.compute_dtype = format, layer.weight.dtype

    def dequantised(self, dtype: torch.dtype) -> Tensor:
        """The weight (out, in) in `dtype`."""
        return self.weight.data.view(self.format).to(dtype).mul_(self.scales.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        kind = x.device.type
        x = x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
        return _Product.apply(x, self)


class _Product(torch.autograd.Function):
    """x W^T + b without W being kept for the gradient of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: EightBit) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.dequantised(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.layer.dequantised(grad.dtype), None


def fp8(layer: nn.Linear) -> EightBit:
    """float8_e4m3fn (Micikevicius et al. 2022): 2.6 % off, against 11 % without scales for weights around 0.005.

    Scales are powers of two: no worse than 448 / largest, and a weight that was stored in fp8 stays exactly what it is.
    """
    largest = layer.weight.data.float().abs().amax(1, keepdim=True).clamp_min(2.0**-15)
    return EightBit(layer, torch.float8_e4m3fn, torch.exp2(-torch.floor(torch.log2(448 / largest))))


def int8(layer: nn.Linear) -> EightBit:
    """Whole numbers from -127 to 127: 0.8 % off where no weight stands out, 2 % where some do."""
    return EightBit(layer, torch.int8, layer.weight.data.float().abs().amax(1, keepdim=True).clamp_min(1e-8) / 127)


def nf4(layer: nn.Linear) -> nn.Module:
    """4-bit normal floats with doubly quantised scales, about 4.1 bits per weight.

    Raises:
        ModelError: `model.no_bitsandbytes`.
    """
    try:
        from bitsandbytes.nn import Linear4bit, Params4bit
    except ImportError as error:
        raise ModelError(
            "model.no_bitsandbytes", "A base in nf4 needs bitsandbytes, which is not installed.", "The package bitsandbytes.",
            "Install it (pip install bitsandbytes), or set the base's quantization to fp8, int8 or none.",
            field="model.quantization", how="nf4",
        ) from error  # fmt: skip
    made = Linear4bit(layer.in_features, layer.out_features, layer.bias is not None, layer.weight.dtype, device="meta")
    made.weight = Params4bit(
        layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True, quant_storage=torch.int8
    )
    made.bias = layer.bias
    # On some CPUs bitsandbytes packs the weight anew at the first forward without gradients, with coarser scales: the base
    # would change, and widths that are no multiple of 64 fail.
    made.support_avx512bf16_for_cpu = False
    return made


FORMATS: dict[str, Callable[[nn.Linear], nn.Module]] = {"nf4": nf4, "int8": int8, "fp8": fp8}
"""`model.quantization` -> how one layer is quantised."""


def quantise(part: nn.Module, how: str, device: torch.device | None = None) -> int:
    """Quantise the Linear layers of a frozen part in place, one at a time. Returns how many.

    Args:
        device: where they shall be, and are quantised; where they are by default.

    Raises:
        ModelError: `model.no_bitsandbytes`.
    """
    wanted = [
        (path, layer) for path, layer in part.named_modules() if type(layer) is nn.Linear and layer.weight.numel() >= SMALLEST
    ]
    for path, layer in wanted:
        owner, _, name = path.rpartition(".")
        place = device or layer.weight.device
        made = FORMATS[how](layer if how == "nf4" else layer.to(place)).to(place)  # Params4bit quantises on its way
        setattr(part.get_submodule(owner), name, made.eval().requires_grad_(False))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return len(wanted)
