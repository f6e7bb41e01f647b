"""A frozen base in fewer bits, for training (QLoRA, Dettmers et al. 2023) and for pictures.

Linear layers are replaced by ones that give their outputs and the gradients of their inputs from 4 or 8 bits per weight;
convolutions, normalisation and embeddings stay as they are. Adapters do not notice: they see activations, or the weight as it
is dequantised. Weights are never dequantised for longer than one product takes, in the backward pass too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.errors import ModelError

SMALLEST = 4096
"""Weights with fewer numbers stay as they are: they would save nothing and lose precision."""


class Quantised(nn.Linear, ABC):
    """A frozen Linear layer whose `weight` holds whole numbers that stand for others.

    Attributes:
        compute_dtype: the number format of the weight before; diffusers casts by it.
    """

    def __init__(self, layer: nn.Linear, stored: Tensor) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        # Bits as int8 whatever they mean: code that looks at the weight's format, as T5 does, would cast its input to it.
        self.weight = nn.Parameter(stored.view(torch.int8), requires_grad=False)
        self.bias, self.compute_dtype = layer.bias, layer.weight.dtype

    @abstractmethod
    def dequantised(self, dtype: torch.dtype) -> Tensor:
        """The weight (out, in) in `dtype`."""

    def forward(self, x: Tensor) -> Tensor:
        kind = x.device.type
        return _Product.apply(x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x, self)


class _Product(torch.autograd.Function):
    """The layer's product, without the dequantised weight being kept for the gradient of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Quantised) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(layer.weight)
        return F.linear(x, layer.dequantised(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        _ = ctx.saved_tensors  # where the block is recomputed, or streamed, the weight is there from now on
        return grad @ ctx.layer.dequantised(grad.dtype), None


class EightBit(Quantised):
    """8 bits per weight and one scale per row (output).

    Args:
        layer: what it replaces.
        format: what the bits mean.
        scales: (out, 1), float32.
    """

    scales: Tensor

    def __init__(self, layer: nn.Linear, format: torch.dtype, scales: Tensor) -> None:
        scaled = layer.weight.data.float() / scales
        super().__init__(layer, (scaled if format.is_floating_point else scaled.round()).to(format))
        self.register_buffer("scales", scales)
        self.format = format

    def dequantised(self, dtype: torch.dtype) -> Tensor:
        return self.weight.data.view(self.format).to(dtype).mul_(self.scales.to(dtype))


def fp8(layer: nn.Linear) -> EightBit:
    """float8_e4m3fn (Micikevicius et al. 2022): 2.6 % off, against 11 % without scales for weights around 0.005.

    Scales are powers of two: no worse than 448 / largest, and a weight that was stored in fp8 stays exactly what it is.
    """
    largest = layer.weight.data.float().abs().amax(1, keepdim=True).clamp_min(2.0**-15)
    return EightBit(layer, torch.float8_e4m3fn, torch.exp2(-torch.floor(torch.log2(448 / largest))))


def int8(layer: nn.Linear) -> EightBit:
    """Whole numbers from -127 to 127: 0.8 % off where no weight stands out, 2 % where some do."""
    return EightBit(layer, torch.int8, layer.weight.data.float().abs().amax(1, keepdim=True).clamp_min(1e-8) / 127)


class FourBit(Quantised):
    """4-bit normal floats with doubly quantised scales (Dettmers et al. 2023, sections 2 and 3): about 4.1 bits per weight.

    Raises:
        ModelError: `model.no_bitsandbytes`.
    """

    TENSORS: ClassVar = ("absmax", "offset", "absmax2", "code2")
    """What is kept beside the weight, by bitsandbytes' names; 2 is the second quantisation."""

    def __init__(self, layer: nn.Linear) -> None:
        packed, state = _bitsandbytes().quantize_4bit(
            layer.weight.data.float(), blocksize=64, compress_statistics=True, quant_type="nf4", quant_storage=torch.int8
        )
        super().__init__(layer, packed)
        held = (state.absmax, state.offset, state.state2.absmax, state.state2.code)
        for name, tensor in zip(self.TENSORS, held, strict=True):
            self.register_buffer(name, tensor.clone())  # the table is shared by all layers

    def dequantised(self, dtype: torch.dtype) -> Tensor:
        bitsandbytes, shape = _bitsandbytes(), torch.Size((self.out_features, self.in_features))
        absmax, offset, absmax2, code2 = (getattr(self, name) for name in self.TENSORS)
        outer = bitsandbytes.QuantState(absmax2, code=code2, blocksize=256, dtype=torch.float32)
        state = bitsandbytes.QuantState(absmax, shape, None, 64, "nf4", dtype, offset, outer)
        return bitsandbytes.dequantize_4bit(self.weight.data, state)


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes.functional
    except ImportError as error:
        raise ModelError(
            "model.no_bitsandbytes", "A base in nf4 needs bitsandbytes, which is not installed.", "The package bitsandbytes.",
            "Install it (pip install bitsandbytes), or set the base's quantization to fp8, int8 or none.",
            field="model.quantization", how="nf4",
        ) from error  # fmt: skip
    return bitsandbytes.functional


FORMATS: dict[str, Callable[[nn.Linear], Quantised]] = {"nf4": FourBit, "int8": int8, "fp8": fp8}
"""`model.quantization` -> how one layer is quantised."""


def quantise(part: nn.Module, how: str, device: torch.device | None = None, home: torch.device | None = None) -> int:
    """Quantise the Linear layers of a frozen part in place, one at a time: the full weight of each goes before the next comes.

    Args:
        device: where they are moved and quantised; None leaves them where they are.
        home: where they stay then; None leaves them where they were quantised.

    Returns:
        How many.

    Raises:
        ModelError: `model.no_bitsandbytes`.
    """
    # Paths alone: a list of layers would keep all of their full weights until the end.
    wanted = [path for path, layer in part.named_modules() if type(layer) is nn.Linear and layer.weight.numel() >= SMALLEST]
    for path in wanted:
        owner, _, name = path.rpartition(".")
        small = FORMATS[how](part.get_submodule(path).to(device)).eval().requires_grad_(False)
        setattr(part.get_submodule(owner), name, small.to(home))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return len(wanted)
