"""Changes that are the product of two thin matrices, however these come about; saved as plain LoRA.

On convolutions as in LoCon: down is (rank, in, k, k), up is a 1x1 convolution (out, rank, 1, 1).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.adapters import recompute
from engine.adapters.base import LayerShape
from engine.adapters.factored import Factored, common, magnitude
from engine.adapters.layers import add_product_into, for_factor
from engine.adapters.siblings import Siblings, product
from engine.config.sizes import thin_sizes


class Factor(nn.Module):
    """One of the matrices; a module so that its tensor is named `lora_down.weight` on disk."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


class Thin(Factored):
    """A change `up @ down`.

    An algorithm states its `factors`, and where randomness or time acts on single ranks, `mask`.

    Attributes:
        siblings: the adapters of the layers that are given the same input as this one; None where there are none.
    """

    suffixes = ("lora_down.weight", "lora_up.weight", "alpha")

    def __init__(
        self, dropout: float = 0.0, rank_dropout: float = 0.0, max_norm: float = 0.0, module_dropout: float = 0.0
    ) -> None:
        super().__init__(rank_dropout, max_norm, module_dropout, dropout)
        self.siblings: Siblings | None = None

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        """Of these only `Lora` reads files, for all of them: a file does not say how its factors came about."""
        raise ValueError(f"a file of {cls.__name__} is one of Lora")

    @abstractmethod
    def factors(self) -> tuple[Tensor, Tensor]:
        """down (rank, in, *kernel) and up (out, rank, *ones), every scale multiplied in."""

    def own_down(self) -> nn.Parameter | None:
        """The first factor, where it is a parameter as it is: those of layers that share their input are multiplied at once."""
        return None

    def change(self) -> Tensor:
        down, up = self.factors()
        return (up.flatten(1) @ down.flatten(1)).view(up.shape[0], *down.shape[1:])

    def norms(self, weight: Tensor, axis: int) -> Tensor:
        """Per output by |w|^2 + 2 w (b A) + b (A A^T) b, so that nothing of the size of the weight is made."""
        if axis == 1 or weight.numel() < recompute.SMALL:
            return super().norms(weight, axis)
        down, up = (factor.flatten(1) for factor in self.factors())
        mixed = (weight.flatten(1) @ down.to(weight.dtype).mT).to(up.dtype)
        more = (up * (2 * mixed + up @ (down @ down.mT))).sum(1).view(-1, *(1 for _ in weight.shape[1:]))
        norms = magnitude(weight, axis)
        grown = norms * (1 + more / norms.square()).clamp_min(0).sqrt()  # exactly |w| where the change is zero
        return torch.where(norms > 0, grown, more.clamp_min(0).sqrt())

    def tensors(self) -> dict[str, Tensor]:
        down, up = self.factors()
        extra = {} if self.dora_scale is None else {"dora_scale": self.dora_scale}
        return {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(float(down.shape[0])), **extra}

    def mask(self, rank: int, x: Tensor) -> Tensor | None:
        """What each rank is multiplied by: (rank,) or, per picture of the batch, (B, rank); None leaves them as they are.

        Here: rank dropout.
        """
        return self.kept(rank)

    def through(self, x: Tensor, layer: nn.Module) -> Tensor:
        """Two thin products instead of one wide weight."""
        down, up = self.factors()
        inner = self._inner(x, down, layer)
        return F.conv2d(inner, up) if isinstance(layer, nn.Conv2d) else F.linear(inner, up)

    def add_to(self, y: Tensor, x: Tensor, layer: nn.Module, strength: float) -> Tensor:
        if isinstance(layer, nn.Conv2d) or self.dora_scale is not None or type(self).through is not Thin.through:
            return super().add_to(y, x, layer, strength)
        down, up = self.factors()
        return add_product_into(y, self._inner(x, down, layer), up, strength)

    def _inner(self, x: Tensor, down: Tensor, layer: nn.Module) -> Tensor:
        """The activations between the two products: (B, ..., rank) or (B, rank, H, W)."""
        if isinstance(layer, nn.Conv2d):
            inner = layer._conv_forward(for_factor(x, down), down, None)
        else:
            inner = product(x, down) if self.siblings is None else self.siblings.product(self, x, down)
        if (mask := self.mask(down.shape[0], inner)) is not None:
            inner = inner * on_ranks(mask.to(inner), inner, isinstance(layer, nn.Conv2d))
        return self._dropped(inner)

    def _dropped(self, inner: Tensor) -> Tensor:
        """Dropout after `down`, from the step's seed, so that a recomputed forward drops the same activations."""
        if not (self.dropout and self.training):
            return inner
        generator = torch.Generator(inner.device).manual_seed(self._seed)
        keep = torch.empty(inner.shape, device=inner.device).bernoulli_(1 - self.dropout, generator=generator)
        return inner * keep.to(inner.dtype) / (1 - self.dropout)


def on_ranks(mask: Tensor, inner: Tensor, convolution: bool) -> Tensor:
    """A (rank,) or (B, rank) mask shaped so that it multiplies (B, ..., rank) or, after a convolution, (B, rank, H, W)."""
    if mask.dim() == 1:
        return mask.view(-1, 1, 1) if convolution else mask
    middle = () if convolution else tuple(1 for _ in inner.shape[1:-1])
    return mask.view(*mask.shape, 1, 1) if convolution else mask.view(mask.shape[0], *middle, mask.shape[1])


def random_down(shape: LayerShape, rank: int, generator: torch.Generator) -> Tensor:
    """Kaiming-uniform with a = sqrt(5), as every LoRA trainer begins."""
    down = torch.empty(thin_sizes(shape, rank)[0])
    nn.init.kaiming_uniform_(down, a=5**0.5, generator=generator)
    return down


def thin_common(options: Any) -> dict[str, float]:
    """The arguments of `Thin` from an algorithm's options."""
    return {"dropout": getattr(options, "dropout", 0.0), **common(options)}
