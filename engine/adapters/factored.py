"""Changes that are a product of factors and need no base weight: LoRA, LoHa, LoKr and their kin.

What they share: weight decomposition (DoRA), dropout of ranks, a bound on their norm, LoRA+'s faster factor.

Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", equation 5: W' = m * (W + dW) / ||W + dW||, the norm taken
as a constant in the backward pass (section 4.3). The paper and PEFT have one magnitude per output; LyCORIS can have one per
input (`wd_on_output=False`). Both are read; which one it is, the shape of `dora_scale` says. At strength s this is
W + s * (W' - W), so that strength 0 is the base; LyCORIS and ComfyUI agree with it at strength 1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape, ParamGroup
from engine.adapters.layers import (
    Base,
    base_tensors,
    change_of_output,
    channel_axis,
    on_channels,
    without_bias,
)
from engine.adapters.recompute import in_full_precision, layer_at


def magnitude(weight: Tensor, axis: int) -> Tensor:
    """Norm of each slice along `axis` (0 outputs, 1 inputs), (out, 1, ...) or (1, in, ...), at least float32."""
    others = tuple(dim for dim in range(weight.dim()) if dim != axis)
    wide = torch.promote_types(weight.dtype, torch.float32)
    return torch.linalg.vector_norm(weight, dim=others, keepdim=True, dtype=wide)


class Factored(Adapter):
    """A change of weight that does not depend on the base.

    Attributes:
        dora_scale: the learnt magnitude, (out, 1[, 1, 1]) or (1, in[, 1, 1]); None without weight decomposition.
        rank_dropout, max_norm, dropout: as in the options.
    """

    def __init__(
        self, rank_dropout: float = 0.0, max_norm: float = 0.0, module_dropout: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__(module_dropout)
        self.rank_dropout, self.max_norm, self.dropout = rank_dropout, max_norm, dropout
        self._seed = 0
        self.dora_scale: nn.Parameter | None
        self.register_parameter("dora_scale", None)

    @abstractmethod
    def change(self) -> Tensor:
        """The change of the weight before decomposition, in the weight's shape; nothing is dropped from it."""

    def through(self, x: Tensor, layer: nn.Module) -> Tensor:
        """What `change` adds to the layer's output, less what is dropped in this step."""
        return self.drop_rows(layer_at(layer, x, lambda: {"weight": self.change()}, self.parameters(), exact=False), layer)

    def linear_factors(self) -> list[nn.Parameter]:
        """Parameters of one factor, in which the change is linear; where it begins at zero. Empty: `max_norm` cannot act."""
        return []

    def up_factors(self) -> list[nn.Parameter]:
        """Parameters of the factor that LoRA+ speeds up."""
        return self.linear_factors()

    # ---- weight decomposition ----

    def decompose(self, base: Base, how: str) -> Self:
        """Begin weight decomposition: `how` is "off", "outputs" or "inputs"."""
        if how != "off":
            self.dora_scale = nn.Parameter(magnitude(base["weight"].detach(), 0 if how == "outputs" else 1))
        return self

    def read_dora(self, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        """Take `dora_scale` from a file, if it has one.

        Raises:
            ValueError: it fits neither outputs nor inputs.
        """
        if (scale := tensors.get("dora_scale")) is not None:
            ones = tuple(1 for _ in shape.kernel)
            sizes = {(shape.outputs, 1), (1, shape.inputs)}
            if tuple(scale.shape[:2]) not in sizes or scale.numel() != max(scale.shape):
                raise ValueError(
                    f"dora_scale is {tuple(scale.shape)} where one of {sorted((*size, *ones) for size in sizes)} is needed"
                )
            self.dora_scale = nn.Parameter(scale.float().reshape(*scale.shape[:2], *ones))
        return self

    def dora_axis(self, weight: Tensor) -> int:
        """What has a magnitude each: 0 outputs, 1 inputs."""
        assert self.dora_scale is not None
        return int(self.dora_scale.shape[1] > 1 or self.dora_scale.shape[0] != weight.shape[0])

    def norms(self, weight: Tensor, axis: int) -> Tensor:
        """||W + dW||, in the shape of `dora_scale`."""
        return magnitude(weight + self.change(), axis)

    def stretch(self, norms: Tensor) -> Tensor:
        """m / ||W + dW||, in the shape of `dora_scale`."""
        assert self.dora_scale is not None
        return self.dora_scale / norms.detach().clamp_min(torch.finfo(torch.float32).tiny)

    def deltas(self, base: Base) -> dict[str, Tensor]:
        change = self.change()
        if self.dora_scale is None:
            return {"weight": change}
        weight = base["weight"].to(change.dtype)
        moved = weight + change
        return {"weight": moved * self.stretch(magnitude(moved, self.dora_axis(weight))) - weight}

    def forward(self, x: Tensor, y: Tensor, layer: nn.Module) -> Tensor:
        """Weight decomposition as a stretch of what goes in or of what comes out, so that no weight is made for it.

        Per output (W + dW) x is stretched, of which y has W x already; per input x is, which passes through both.
        """
        if self.dora_scale is None:
            return self.through(x, layer)
        weight = base_tensors(layer)["weight"]
        axis = self.dora_axis(weight)
        with torch.no_grad(), in_full_precision(x):
            norms = self.norms(weight, axis)
        stretch = self.stretch(norms).flatten()
        if axis == 0:
            stretch = on_channels(layer, stretch, y)
            return (stretch - 1) * without_bias(layer, y) + stretch * self.through(x, layer)
        stretch = on_channels(layer, stretch, x)
        return change_of_output(layer, (stretch - 1) * x, {"weight": weight.to(stretch.dtype)}) + self.through(stretch * x, layer)

    @property
    def beside(self) -> bool:
        cheaper = type(self).through is not Factored.through
        return super().beside and (cheaper or bool(self.rank_dropout and self.training))

    @property
    def reads_output(self) -> bool:
        return self.dora_scale is not None

    # ---- dropout of ranks ----

    def begin_step(self, generator: torch.Generator) -> None:
        super().begin_step(generator)
        if self.dropout or self.rank_dropout:
            self._seed = int(torch.randint(2**31, (), generator=generator))

    def kept(self, count: int) -> Tensor | None:
        """Which of so many ranks or rows rank dropout leaves in this step, (count,), rescaled so that the mean stays.

        None where nothing is dropped. From the step's seed, so that a recomputed forward drops the same.
        """
        if not (self.rank_dropout and self.training):
            return None
        keep = 1 - self.rank_dropout
        return torch.bernoulli(torch.full((count,), keep), generator=torch.Generator().manual_seed(self._seed)) / keep

    def drop_rows(self, change: Tensor, layer: nn.Module) -> Tensor:
        """Rank dropout where there are no single ranks: of output rows, as in LyCORIS."""
        kept = self.kept(change.shape[channel_axis(layer)])
        return change if kept is None else change * on_channels(layer, kept.to(change), change)

    # ---- what learns, and how far ----

    def param_groups(self) -> list[ParamGroup]:
        up = self.up_factors()
        rest = [p for p in self.parameters() if not any(p is each for each in up)]
        groups = (ParamGroup(rest), ParamGroup(up, up=True))
        return [ParamGroup(own, up=group.up) for group in groups if (own := [p for p in group.parameters if p.requires_grad])]

    @classmethod
    @torch.no_grad()
    def after_step(cls, adapters: Sequence[Self], step: int, steps: int) -> None:
        """Scale changes down that have grown past `max_norm` (Kohya's scale_weight_norms)."""
        for adapter in adapters:
            if adapter.max_norm and (norm := float(adapter.change().norm())) > adapter.max_norm:
                for parameter in adapter.linear_factors():
                    parameter.mul_(adapter.max_norm / norm)


def leading(tensors: Mapping[str, Tensor], name: str) -> int:
    """First size of a file's tensor, which often is the rank.

    Raises:
        ValueError: there is no such tensor, or it is empty.
    """
    if name not in tensors:
        raise ValueError(f"{name} is missing")
    if not tensors[name].dim() or not tensors[name].numel():
        raise ValueError(f"{name} is {tuple(tensors[name].shape)} where a matrix is needed")
    return tensors[name].shape[0]


def fitted(tensors: Mapping[str, Tensor], sizes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Those of a file's tensors that have a size here, float32, in that size.

    Some programs write 1x1 convolutions as matrices, some Linear layers as 1x1 convolutions.

    Raises:
        ValueError: one is missing or does not fit.
    """
    for name, size in sizes.items():
        if leading(tensors, name) != size[0] or tensors[name].numel() != torch.Size(size).numel():
            raise ValueError(f"{name} is {tuple(tensors[name].shape)} where {size} is needed")
    return {name: tensors[name].float().reshape(size) for name, size in sizes.items()}


def common(options: Any) -> dict[str, float]:
    """The arguments of `Factored` from an algorithm's options."""
    return {name: getattr(options, name) for name in ("rank_dropout", "max_norm", "module_dropout") if hasattr(options, name)}
