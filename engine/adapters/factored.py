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
from engine.adapters.layers import Base


def magnitude(weight: Tensor, axis: int) -> Tensor:
    """Norm of each slice along `axis` (0 outputs, 1 inputs), (out, 1, ...) or (1, in, ...), at least float32."""
    others = tuple(dim for dim in range(weight.dim()) if dim != axis)
    return torch.linalg.vector_norm(weight.to(torch.promote_types(weight.dtype, torch.float32)), dim=others, keepdim=True)


class Factored(Adapter):
    """A change of weight that does not depend on the base.

    Attributes:
        dora_scale: the learnt magnitude, (out, 1[, 1, 1]) or (1, in[, 1, 1]); None without weight decomposition.
        rank_dropout, max_norm: as in the options.
    """

    def __init__(self, rank_dropout: float = 0.0, max_norm: float = 0.0, module_dropout: float = 0.0) -> None:
        super().__init__(module_dropout)
        self.rank_dropout, self.max_norm = rank_dropout, max_norm
        self.dora_scale: nn.Parameter | None
        self.register_parameter("dora_scale", None)

    @abstractmethod
    def change(self) -> Tensor:
        """The change of the weight before decomposition, in the weight's shape."""

    def linear_factors(self) -> list[nn.Parameter]:
        """Parameters of one factor, in which the change is linear; where it begins at zero. Empty: `max_norm` cannot act."""
        return []

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
            sizes = {(shape.outputs, 1, *ones), (1, shape.inputs, *ones)}
            if tuple(scale.shape) not in sizes:
                raise ValueError(f"dora_scale is {tuple(scale.shape)} where one of {sorted(sizes)} is needed")
            self.dora_scale = nn.Parameter(scale.float())
        return self

    def deltas(self, base: Base) -> dict[str, Tensor]:
        change = self.change()
        return {"weight": change if self.dora_scale is None else self.decomposed(base["weight"], change) - base["weight"].to(change.dtype)}

    def decomposed(self, weight: Tensor, change: Tensor) -> Tensor:
        """W' of the paper."""
        moved = weight.to(change.dtype) + change
        return moved * self.stretch(moved)

    def stretch(self, moved: Tensor) -> Tensor:
        """m / ||W + dW||, in the shape of `dora_scale`."""
        assert self.dora_scale is not None
        axis = 1 if self.dora_scale.shape[0] == 1 and moved.shape[0] > 1 else 0
        norm = magnitude(moved.detach(), axis).to(moved.dtype)
        return self.dora_scale.to(moved.dtype) / norm.clamp_min(torch.finfo(torch.float32).tiny)

    def param_groups(self) -> list[ParamGroup]:
        up = self.linear_factors()
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


def common(options: Any) -> dict[str, float]:
    """The arguments of `Factored` from an algorithm's options."""
    return {name: getattr(options, name) for name in ("rank_dropout", "max_norm", "module_dropout") if hasattr(options, name)}
