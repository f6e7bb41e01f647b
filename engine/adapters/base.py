"""What an adapter algorithm is: parameters, and the change they make to one layer's weights.

An algorithm states its tensors under their on-disk names and `deltas`, the change of weight and bias as a differentiable
function. From these two this class derives the training forward, strength, stacking, merging, saving and loading; the rule
for several adapters is W + sum of s_i * deltas_i(W), in any order. It knows no model family and no file format.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from engine.adapters.layers import Base, add_into, base_tensors
from engine.adapters.recompute import layer_at
from engine.config.layers import LayerShape


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that learn alike.

    Attributes:
        rate: their learning rate, as a multiple of the component's.
        up: they are the factor that begins at zero, to which LoRA+ gives a higher rate.
    """

    parameters: list[nn.Parameter]
    rate: float = 1.0
    up: bool = False


class Adapter(nn.Module, ABC):
    """One adapted layer. Parameters and buffers carry the suffixes they have on disk; `alpha` is a float32 scalar.

    Attributes:
        module_dropout: share of the training steps in which the adapter sits out.
        dropped: whether it sits out this one.
    """

    suffixes: ClassVar[tuple[str, ...]]
    """Every tensor name the algorithm may have on disk."""

    def __init__(self, module_dropout: float = 0.0) -> None:
        super().__init__()
        self.module_dropout, self.dropped = module_dropout, False

    # ---- what an algorithm is ----

    @classmethod
    @abstractmethod
    def create(cls, shape: LayerShape, base: Base, options: Any, generator: torch.Generator) -> Self:
        """A new adapter that changes nothing yet; all randomness from `generator` (on the CPU).

        Args:
            base: the layer's own tensors, not to be kept or changed.
            options: the algorithm's section of `engine.config.adapter`.

        Raises:
            ValueError: the options do not fit the layer; the text says how.
        """

    @classmethod
    @abstractmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        """An adapter from a file, at float32.

        Raises:
            ValueError: the tensors do not fit the layer; the text says how.
        """

    @abstractmethod
    def deltas(self, base: Base) -> dict[str, Tensor]:
        """The change of `weight` (and `bias`), in the shapes of the base tensors, float32, differentiable.

        In evaluation mode it is the finished adapter: no dropout, full rank, nothing random.
        """

    def tensors(self) -> dict[str, Tensor]:
        """What is saved, by suffix. It may be another algorithm's form, where that is exactly the same change."""
        return dict(self.state_dict())

    @classmethod
    def adapts(cls, shape: LayerShape) -> bool:
        """Whether the algorithm exists for such a layer."""
        return not shape.norm

    # ---- what it may do better ----

    def forward(self, x: Tensor, y: Tensor, layer: nn.Module) -> Tensor:
        """The change of the layer's output y = layer(x).

        This reference is the layer at `deltas`: Linear, convolution and normalisation are linear in their weights. An
        algorithm with a cheaper way overrides it. No randomness is drawn here: checkpointing runs it twice.
        """
        return layer_at(layer, x, lambda: self.deltas(base_tensors(layer)), self.parameters())

    @property
    def beside(self) -> bool:
        """Whether `forward` works on activations; otherwise the deltas may as well be added to the weight first."""
        return type(self).forward is not Adapter.forward

    @property
    def reads_output(self) -> bool:
        """Whether the gradient of `forward` needs the y it was given."""
        return self.beside

    def add_to(self, y: Tensor, x: Tensor, layer: nn.Module, strength: float) -> Tensor:
        """y + strength * forward(x, y, layer) in y's number format. y is given away: it may be overwritten."""
        change = self.forward(x, y, layer)
        return torch.add(y, change.to(y.dtype), alpha=strength) if self.reads_output else add_into(y, change, strength)

    def param_groups(self) -> list[ParamGroup]:
        """The parameters that learn."""
        return [ParamGroup([parameter for parameter in self.parameters() if parameter.requires_grad])]

    # ---- what happens in training, in this order ----

    def begin_step(self, generator: torch.Generator) -> None:
        """Draw the randomness of an optimizer step."""
        self.dropped = bool(self.module_dropout) and float(torch.rand((), generator=generator)) < self.module_dropout

    @classmethod
    def begin_together(cls, adapters: Sequence[Self], generator: torch.Generator) -> None:
        """Draw the randomness of an optimizer step, for all adapters of this class in a network at once."""
        for adapter in adapters:
            adapter.begin_step(generator)

    def begin_batch(self, times: Tensor) -> None:
        """How noisy each picture of the coming batch is: (B,), from 0 (clean) to 1 (noise)."""

    def penalty(self) -> Tensor | None:
        """What is added to the loss of the step, a scalar; the network takes the mean over its adapters."""
        return None

    def after_backward(self) -> None:
        """Look at the gradients, which are whole, finite and clipped now."""

    @classmethod
    def after_step(cls, adapters: Sequence[Self], step: int, steps: int) -> None:
        """Act once the weights have moved, on all adapters of this class in a network at once.

        Args:
            step: the one just taken, from 1.
            steps: length of the run.
        """
