"""Layers that are given the same input, as q, k and v of an attention: their first thin products with it are made as one.

x @ [down_q; down_k; down_v]^T reads x once where three products read it three times, and so does its backward pass, which
also adds up three gradients of x on the way. The layers are called one after the other; the first makes the product for all,
and each takes its part. A part is given out only for the very tensor it was made of, unchanged, with the very factor it was
made with, under the same rules (gradients, autocast); nothing is kept once all have been taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.adapters.layers import autocasts, for_factor, format_of

if TYPE_CHECKING:
    from engine.adapters.thin import Thin


class Siblings:
    """The adapters of layers that share their input; a plain product where they turn out not to."""

    def __init__(self, members: Iterable[Thin]) -> None:
        self.members = list(members)
        for member in self.members:
            member.siblings = self
        self._input: Tensor | None = None
        self._rules: tuple[Any, ...] = ()
        self._parts: dict[Thin, tuple[Tensor, int]] = {}

    def product(self, member: Thin, x: Tensor, down: Tensor) -> Tensor:
        """x @ down^T of one member: (..., in) and (rank, in) to (..., rank)."""
        if down is not member.own_down() or x.is_inference() or torch.compiler.is_compiling():
            return product(x, down)
        if member not in self._parts:
            self._make(x)
        if member not in self._parts:  # the only one that acts
            return product(x, down)
        part, version = self._parts.pop(member)
        shared = self._input is x and self._rules == _rules(x) and version == down._version
        if not (shared and self._parts):
            self.forget()
        return part if shared else product(x, down)

    def _make(self, x: Tensor) -> None:
        acting = [member for member in self.members if not (member.dropped and member.training)]
        downs = [(member, down) for member in acting if (down := member.own_down()) is not None]
        self.forget()
        if len(downs) > 1:
            factors = [down for _, down in downs]
            whole = _Product.apply(x.to(format_of(x)) if autocasts(x) else for_factor(x, factors[0]), *factors)
            parts = whole.split([len(factor) for factor in factors], -1)
            self._input, self._rules = x, _rules(x)
            self._parts = {member: (part, down._version) for (member, down), part in zip(downs, parts, strict=True)}

    def forget(self) -> None:
        """Let go of what has been made but not taken, as when an error or a recomputation ended on the way."""
        self._input, self._rules, self._parts = None, (), {}


class _Product(torch.autograd.Function):
    """x @ [down; ...]^T; the factors are put together again in the backward pass instead of kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *downs: Tensor) -> Tensor:
        ctx.save_for_backward(x, *downs)
        return F.linear(x, torch.cat(downs).to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *downs = ctx.saved_tensors
        of_x = grad @ torch.cat(downs).to(grad.dtype) if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):  # LoRA-FA
            return of_x, *(None for _ in downs)
        of_downs = grad.reshape(-1, grad.shape[-1]).mT @ x.reshape(-1, x.shape[-1])
        return of_x, *of_downs.to(downs[0].dtype).split([len(down) for down in downs])


def product(x: Tensor, down: Tensor) -> Tensor:
    """x @ down^T of one factor."""
    return F.linear(for_factor(x, down), down)


def _rules(x: Tensor) -> tuple[Any, ...]:
    return x._version, format_of(x), torch.is_grad_enabled()
