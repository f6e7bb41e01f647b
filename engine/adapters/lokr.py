"""LoKr: the change of a weight as the Kronecker product of two small matrices.

Yeh et al. 2024, "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation", section 3:
dW = scale * kron(w1, w2), where each of the two may be a product of rank `rank` itself, w2 of a convolution Tucker's too. As in
LyCORIS and in all readers of its files, scale is alpha / rank if one of them is, and 1 if both are whole; PEFT has alpha / rank
always. LyCORIS' merge, but not its forward, multiplies by it twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.factored import Factored, common, fitted, leading
from engine.adapters.layers import Base, change_of_output
from engine.adapters.tucker import tucker
from engine.config.adapter import LokrOptions
from engine.config.sizes import Sizes, first_sizes, lokr_sizes, second_sizes, thin_rank
from engine.formats.suffixes import ALGORITHM_SUFFIXES, SHARED_SUFFIXES


def written_sizes(shape: LayerShape, tensors: Mapping[str, Tensor]) -> Sizes:
    """Sizes that a file's tensors must have for the layer, whichever of the forms they are in.

    Raises:
        ValueError: w1 does not divide the layer.
    """
    if "lokr_w1" in tensors:
        first, columns = None, "lokr_w1"
        out1 = leading(tensors, "lokr_w1")
    else:
        first, columns = leading(tensors, "lokr_w1_b"), "lokr_w1_b"
        out1 = leading(tensors, "lokr_w1_a")
    in1 = tensors[columns].numel() // tensors[columns].shape[0]
    if shape.outputs % out1 or shape.inputs % in1:
        raise ValueError(f"lokr_w1 is {(out1, in1)}, which does not divide {(shape.outputs, shape.inputs)} as needed")
    second = None if "lokr_w2" in tensors else leading(tensors, "lokr_w2_b")
    out2, in2 = shape.outputs // out1, shape.inputs // in1
    return first_sizes(out1, in1, first) | second_sizes(out2, in2, shape.kernel, second, "lokr_t2" in tensors)


class Lokr(Factored):
    suffixes = (*(name for name in ALGORITHM_SUFFIXES["lokr"] if name != "lokr_t1"), *SHARED_SUFFIXES)
    lokr_w1: nn.Parameter | None
    lokr_w1_a: nn.Parameter
    lokr_w1_b: nn.Parameter
    lokr_w2: nn.Parameter | None
    lokr_w2_a: nn.Parameter
    lokr_w2_b: nn.Parameter
    lokr_t2: nn.Parameter | None

    def __init__(self, shape: LayerShape, factors: Mapping[str, Tensor], alpha: float | None, **common: float) -> None:
        """With an `alpha` of None it is the rank, or 1 where there is no rank."""
        super().__init__(**common)
        for name in ALGORITHM_SUFFIXES["lokr"]:
            self.register_parameter(name, nn.Parameter(factors[name]) if name in factors else None)
        rank = next((factors[name].shape[0] for name in ("lokr_w2_b", "lokr_w1_b") if name in factors), None)
        alpha = float(rank or 1) if alpha is None else alpha
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32))
        self.scale = alpha / rank if rank else 1.0
        self.kernel = shape.kernel

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: LokrOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        factors = {name: torch.zeros(size) for name, size in lokr_sizes(shape, rank, options).items()}
        for name, factor in factors.items():
            if name not in ("lokr_w2", "lokr_w2_b"):
                nn.init.kaiming_uniform_(factor, a=5**0.5, generator=generator)
        alpha = None if {"lokr_w1", "lokr_w2"} == factors.keys() else scale * rank
        return cls(shape, factors, alpha, **common(options)).decompose(base, options.decompose)

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        sizes = written_sizes(shape, tensors)
        if spare := sorted(tensors.keys() - sizes.keys() - set(SHARED_SUFFIXES)):
            raise ValueError(f"{spare[0]} is one too many beside {', '.join(sizes)}")
        alpha = float(tensors["alpha"]) if "alpha" in tensors else None
        return cls(shape, fitted(tensors, sizes), alpha).read_dora(shape, tensors)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """w1 (out1, in1) with the scale multiplied in, and w2 (out2, in2, *kernel)."""
        first = self.lokr_w1_a @ self.lokr_w1_b if self.lokr_w1 is None else self.lokr_w1
        if self.lokr_w2 is not None:
            second = self.lokr_w2
        elif self.lokr_t2 is not None:
            second = tucker(self.lokr_t2, self.lokr_w2_a, self.lokr_w2_b)
        else:
            second = (self.lokr_w2_a @ self.lokr_w2_b).view(len(self.lokr_w2_a), -1, *self.kernel)
        return first * self.scale, second

    def change(self) -> Tensor:
        first, second = self.matrices()
        return torch.kron(first.view(*first.shape, *(1 for _ in self.kernel)), second.contiguous())

    def through(self, x: Tensor, layer: nn.Module) -> Tensor:
        """kron(w1, w2) x = w1 X w2^T, X being x with its channels as in1 groups of in2: two small products for a wide one."""
        first, second = self.matrices()
        if isinstance(layer, nn.Conv2d):
            groups = x.unflatten(1, (first.shape[1], -1)).flatten(0, 1)  # (B * in1, in2, H, W)
            inner = change_of_output(layer, groups, {"weight": second})
            change = (first @ inner.view(len(x), first.shape[1], -1)).view(len(x), -1, *inner.shape[2:])
        else:
            inner = change_of_output(layer, x.unflatten(-1, (first.shape[1], -1)), {"weight": second})  # (B, ..., in1, out2)
            change = (first @ inner).flatten(-2)
        return self.drop_rows(change, layer)

    def linear_factors(self) -> list[nn.Parameter]:
        return [self.lokr_w2_b if self.lokr_w2 is None else self.lokr_w2]
