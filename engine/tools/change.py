"""What an adapter does to one layer, as numbers that can be added: thin factors where it is plain LoRA, whole differences elsewhere.

Nothing here knows files or models. All sums are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from engine.adapters.base import Adapter
from engine.adapters.layers import Base
from engine.adapters.thin import Thin
from engine.tools.spectrum import Spectrum, norm_of_product, spectrum, spectrum_of_product


@dataclass(frozen=True)
class Change:
    """The change of one layer: either `down` and `up`, or `whole`.

    Attributes:
        size: of the layer's weight: (out, in, *kernel), or (channels,) of a normalisation layer.
        down: (rank, in * kernel). up: (out, rank), every scale multiplied in.
        whole: "weight" and "bias" -> their difference, in the shape of the base tensor.
    """

    size: tuple[int, ...]
    down: Tensor | None = None
    up: Tensor | None = None
    whole: dict[str, Tensor] = field(default_factory=dict)

    @property
    def factors(self) -> tuple[Tensor, Tensor] | None:
        return None if self.down is None or self.up is None else (self.down, self.up)

    @property
    def rank(self) -> int:
        """0 for a whole difference."""
        return 0 if self.down is None else len(self.down)

    @property
    def spatial(self) -> bool:
        """Whether the layer is a convolution larger than 1x1."""
        return any(side > 1 for side in self.size[2:])

    def dense(self) -> dict[str, Tensor]:
        """The differences by tensor, whole."""
        return {"weight": (self.up @ self.down).view(self.size)} if self.factors else self.whole  # type: ignore[operator]

    def norm(self) -> float:
        """Frobenius norm over weight and bias."""
        if self.factors:
            return norm_of_product(*self.factors)
        return sum(float(part.double().norm()) ** 2 for part in self.whole.values()) ** 0.5

    def spectrum(self) -> Spectrum:
        """Singular values of the change of weight, which must be there and a matrix or convolution."""
        return spectrum_of_product(*self.factors) if self.factors else spectrum(self.whole["weight"].flatten(1))

    def reducible(self) -> bool:
        """Whether it can be plain LoRA: a weight that is a matrix or convolution changes, and nothing else."""
        return self.factors is not None or (set(self.whole) == {"weight"} and len(self.size) > 1)


@torch.no_grad()
def change_of(adapter: Adapter, base: Base, size: tuple[int, ...]) -> Change:
    """What a finished adapter does at strength 1.

    Args:
        base: the layer's tensors; looked into only by algorithms whose change depends on them.
        size: of the layer's weight.
    """
    adapter.eval()
    if isinstance(adapter, Thin) and adapter.dora_scale is None:
        down, up = adapter.factors()
        return Change(size, down.detach().flatten(1), up.detach().flatten(1))
    return Change(size, whole={name: delta.float() for name, delta in adapter.deltas(base).items()})


def weighted_sum(terms: Sequence[tuple[Change, float]]) -> Change:
    """The sum of weight * change, exact: ranks stand side by side, [w1 up1, w2 up2] @ [down1; down2], where all are thin.

    Raises:
        ValueError: they are of layers of different sizes.
    """
    sizes = [change.size for change, _ in terms if change.factors or "weight" in change.whole] or [terms[0][0].size]
    size = max(sizes, key=len)  # some programs write 1x1 convolutions as matrices
    if any((prod(each), each[0]) != (prod(size), size[0]) for each in sizes):
        raise ValueError(f"changes of sizes {' and '.join(map(str, dict.fromkeys(sizes)))} cannot be added")
    if all(change.factors for change, _ in terms):
        down = torch.cat([change.down for change, _ in terms])  # type: ignore[misc]
        return Change(size, *balanced(down, torch.cat([weight * change.up for change, weight in terms], 1)))  # type: ignore[operator]
    whole: dict[str, Tensor] = {}
    for change, weight in terms:
        for name, delta in change.dense().items():
            part = weight * delta.view(size if name == "weight" else delta.shape)
            whole[name] = whole[name] + part if name in whole else part
    return Change(size, whole=whole)


def balanced(down: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """The same product with each rank's two vectors of about equal size, so that half precision rounds neither to nothing.

    The factors are powers of two: not a bit of the product changes.
    """
    ratio = up.norm(dim=0) / down.norm(dim=1)
    sound = torch.isfinite(ratio) & (ratio > 0)
    power = torch.exp2(torch.where(sound, ratio.log2() / 2, torch.zeros_like(ratio)).round())
    return down * power[:, None], up / power


def relative_error(made: Change, exact: Change) -> float:
    """Frobenius norm of the difference, relative to that of `exact`; 0 when both are nothing."""
    if made.factors and exact.factors and all(torch.equal(a, b) for a, b in zip(made.factors, exact.factors, strict=False)):
        return 0.0
    size = exact.norm()
    return (weighted_sum([(made, 1.0), (exact, -1.0)]).norm() / size) if size else made.norm()
