"""A base model on its way to disk: what it is, and its tensors, each made when it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.formats.lazy_tensor import LazyTensor, in_memory
from engine.formats.models import MODELS
from engine.formats.models.base import ModelFormat, Prediction, Variant

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PartState:
    """One network: its config and its tensors by the keys of its state."""

    config: Mapping[str, Any]
    tensors: Mapping[str, LazyTensor]

    @classmethod
    def of(cls, network: nn.Module) -> PartState:
        """A network in memory, of diffusers or transformers."""
        config: Any = network.config
        return cls(config.to_dict() if hasattr(config, "to_dict") else dict(config), in_memory(network.state_dict()))


@dataclass(frozen=True)
class WholeModel:
    """Attributes:
    family, variant: keys of MODELS and of its variants.
    resolution: side of the square it was made for, px.
    schedule: its noise schedule, as diffusers writes it; nothing is the shipped one.
    """

    family: str
    variant: str
    prediction: Prediction
    resolution: int
    parts: Mapping[str, PartState]
    schedule: Mapping[str, Any] = field(default_factory=dict)

    @property
    def format(self) -> ModelFormat:
        return MODELS[self.family]

    @property
    def about(self) -> Variant:
        return self.format.variants[self.variant]
