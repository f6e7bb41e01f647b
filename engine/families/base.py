"""What the trainer and the generator may ask of a loaded base model, whatever its family.

A family knows its parts, how words and pictures enter it, what it predicts, which of its layers are worth adapting and how
they are called on disk. It knows nothing of adapter algorithms, loops or screens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from engine.config.adapter import LayerOptions
from engine.config.targets import Layer, Target, choose
from engine.generation.conditioning import Conditioning
from engine.library import ModelFacts


class Family(ABC):
    """A loaded base model, frozen and in evaluation mode.

    Attributes:
        facts: name, location, own resolution.
        device, dtype: where and in which number format the weights are.
        scheduler_config: the model's noise schedule and prediction type, as diffusers writes it.
        base_version: Kohya's word for the family in an adapter's metadata.
    """

    base_version: str
    facts: ModelFacts
    device: torch.device
    dtype: torch.dtype
    scheduler_config: dict[str, Any]

    @classmethod
    @abstractmethod
    def load(cls, facts: ModelFacts, device: torch.device, dtype: torch.dtype) -> Self:
        """Load from `facts.location`.

        Raises:
            ModelError: a part is missing or damaged.
        """

    @property
    @abstractmethod
    def components(self) -> dict[str, nn.Module]:
        """The parts an adapter may change, by name: "unet", "text_encoder"."""

    @abstractmethod
    def layers(self) -> dict[str, list[Layer]]:
        """Component -> every layer that can be adapted, in a fixed order; the text encoders come first."""

    def targets(self, options: LayerOptions) -> dict[str, list[Target]]:
        """Component -> the layers that adapter `options` ask for, and how each learns.

        Raises:
            ConfigError: `config.rule`.
        """
        return choose(self.layers(), options)

    @property
    @abstractmethod
    def prediction_type(self) -> str:
        """What the model predicts: "epsilon" or "v_prediction"."""

    @property
    @abstractmethod
    def size_step(self) -> int:
        """Sides of generated pictures are multiples of this, px."""

    @abstractmethod
    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Shape (C, h, w) of the latents of a picture of this size in px."""

    @abstractmethod
    def conditioning(self, clip_skip: int) -> Conditioning:
        """The encoder of prompts, with the text encoder's weights as they are now."""

    @abstractmethod
    def encode_tokens(self, captions: Sequence[str], clip_skip: int) -> Tensor:
        """Captions as training sees them, differentiable: (B, T, D), cut at the tokenizer's length."""

    @abstractmethod
    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to scaled latents (B, C, h, w), float32: the mean of the posterior."""

    @abstractmethod
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) to pictures (B, 3, H, W) in [0, 1], float32."""

    @abstractmethod
    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The model's prediction (B, C, h, w) for noisy latents, timesteps (B,) and encoded text (B, T, D)."""

    @property
    @abstractmethod
    def weights_key(self) -> dict[str, str]:
        """ "vae" and "text_encoder" -> a word for their weights, number format and scaling, for caches of what they encoded."""
