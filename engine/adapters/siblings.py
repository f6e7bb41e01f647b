"""Layers that are given the same input, as q, k and v of an attention: their first thin products with it are made as one.

x @ [down_q; down_k; down_v]^T reads x once where three products read it three times, and so does its backward pass, which
also adds up three gradients of x on the way. The layers are called one after the other; the first makes the product for all,
and each takes its part. A part is given out only for the very tensor it was made of, unchanged, with the very factor it was
made with, under the same rules (gradients, autocast); nothing is kept once all have been taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.adapters.layers import for_factor

if TYPE_CHECKING:
    from engine.adapters.thin import Thin


SMALL = 2**16
"""Below so many numbers in x, arranging the product takes longer than it saves (60 microseconds on a CPU)."""


class _Part(NamedTuple):
    """The product of x and one factor, and the versions of both that it is the product of."""

    product: Tensor
    x: Tensor
    down: Tensor
    versions: tuple[int, int]
    differentiable: bool

    def is_of(self, x: Tensor, down: Tensor) -> bool:
        same = self.x is x and self.down is down and self.versions == (x._version, down._version)
        return same and self.differentiable == torch.is_grad_enabled()


class Siblings:
    """The adapters of layers that share their input; a plain product where they turn out not to."""

    def __init__(self, members: Iterable[Thin]) -> None:
        self.members = list(members)
        for member in self.members:
            member.siblings = self
        self._parts: dict[Thin, _Part] = {}

    def product(self, member: Thin, x: Tensor, down: Tensor) -> Tensor:
        """x @ down^T of one member: (..., in) and (rank, in) to (..., rank)."""
        if torch.compiler.is_compiling() or x.numel() < SMALL or x.is_inference():
            return product(x, down)
        if member not in self._parts:
            self._make(x)
        if (part := self._parts.pop(member, None)) is None:
            return product(x, down)
        if part.is_of(x, down):
            return part.product
        self.members.clear()  # they do not share their input after all
        self.forget()
        return product(x, down)

    def _make(self, x: Tensor) -> None:
        acting = [member for member in self.members if not (member.dropped and member.training)]
        downs = [(member, down) for member in acting if (down := member.own_down()) is not None]
        self.forget()
        if len(downs) > 1:
            parts = _Products.apply(for_factor(x, downs[0][1]), *(down for _, down in downs))
            version, differentiable = x._version, torch.is_grad_enabled()
            for (member, down), part in zip(downs, parts, strict=True):
                self._parts[member] = _Part(part, x, down, (version, down._version), differentiable)

    def forget(self) -> None:
        """Let go of what has been made but not taken, as when an error or a recomputation ended on the way."""
        self._parts.clear()


class _Products(torch.autograd.Function):
    """x @ down^T of several factors, which are put together again in the backward pass instead of kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *downs: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, *downs)
        return F.linear(x, torch.cat(downs).to(x.dtype)).split([down.shape[0] for down in downs], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *downs = ctx.saved_tensors
        grad = torch.cat(grads, -1)
        of_x = grad @ torch.cat(downs).to(grad.dtype) if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):  # LoRA-FA
            return of_x, *(None for _ in downs)
        of_downs = grad.reshape(-1, grad.shape[-1]).mT @ x.reshape(-1, x.shape[-1])
        return of_x, *of_downs.to(downs[0].dtype).split([down.shape[0] for down in downs])


def product(x: Tensor, down: Tensor) -> Tensor:
    """x @ down^T of one factor."""
    return F.linear(for_factor(x, down), down)
