"""What the trainer and the generator may ask of a loaded base model, whatever its family.

A family knows its parts, how words and pictures enter it, what it predicts, which of its layers are worth adapting and how
they are called on disk. It knows nothing of adapter algorithms, loops or screens.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from engine.config.adapter import LayerOptions
from engine.config.choices import Emphasis
from engine.config.targets import Layer, Target, choose
from engine.errors import PromptError
from engine.families.parking import parked, visiting
from engine.formats.models import MODELS
from engine.formats.models.base import ModelFormat, Prediction, Variant
from engine.model_facts import ModelFacts

if TYPE_CHECKING:
    from engine.generation.embeddings import Embeddings

Conditions = dict[str, Tensor]
"""What a prediction depends on besides the noisy picture, by name, the batch first: "text" (B, T, D), "pooled" (B, D), ..."""
ADAPTABLE = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)


class Placing(NamedTuple):
    """How a picture lies in its frame; sizes (width, height) and the frame's corner (left, top) in px."""

    original: tuple[int, int]
    corner: tuple[int, int]
    frame: tuple[int, int]


class TextConditioning(Protocol):
    """Prompts as the pictures of the Generate tab are told them: weights, chunks, any length.

    Attributes:
        problems: what was not done as asked in the texts encoded so far.
    """

    problems: Sequence[PromptError]

    def encode(self, texts: Iterable[str]) -> dict[str, Conditions]:
        """Each distinct text -> its conditions for a batch of one, of the same lengths for all texts of a call."""
        ...


class Family(ABC):
    """A loaded base model, frozen and in evaluation mode.

    Args:
        facts: name, location, variant, own resolution, prediction.
        parts: its networks, as diffusers and transformers build them, by the names of their folders; in their number formats and
            where they shall be (`engine.families.placing`).
        tokenizers: text encoder -> tokenizer.
        scheduler_config: the model's noise schedule, as diffusers writes it.
        device: where predictions are made.
        dtype: the number format of the denoiser.
    """

    def __init__(
        self, facts: ModelFacts, parts: Mapping[str, nn.Module], tokenizers: Mapping[str, Any], scheduler_config: Mapping[str, Any],
        device: torch.device, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.facts, self.device, self.dtype = facts, device, dtype
        self.tokenizers, self.scheduler_config = dict(tokenizers), dict(scheduler_config)
        self.parts: dict[str, Any] = {name: part.eval().requires_grad_(False) for name, part in parts.items()}

    embedding_parts: ClassVar[Mapping[str, str]] = {}
    """CLIP text encoder that reads whole prompts -> the name of its vectors in a file of an embedding (Textual Inversion)."""

    @property
    def format(self) -> ModelFormat:
        return MODELS[self.facts.family]

    @property
    def variant(self) -> Variant:
        return self.format.variants[self.facts.variant]

    @property
    def denoiser(self) -> Any:
        """The network that predicts: a U-Net or a transformer."""
        return self.parts[self.format.denoiser]

    @property
    def vae(self) -> Any:
        return self.parts["vae"]

    @property
    def components(self) -> dict[str, nn.Module]:
        """The parts an adapter may change, by name: "text_encoder", "unet"; the denoiser comes last."""
        return {name: self.parts[name] for name in self.format.trained if name in self.parts}

    @property
    def encoders(self) -> list[str]:
        """Names of the text encoders that it has."""
        return [name for name in self.format.text_encoders if name in self.parts]

    def on_device(self, *names: str) -> AbstractContextManager[None]:
        """Inside, these parts are on the device, whatever has to leave it for them; afterwards all are where they were."""
        return visiting(self.parts, names, self.device)

    def parked(self, *names: str) -> AbstractContextManager[None]:
        """Inside, these parts leave the device to the others, and come for visits only."""
        return parked(self.parts, names, self.device)

    def layers(self) -> dict[str, list[Layer]]:
        """Component -> every layer that can be adapted, in a fixed order; the text encoders come first."""
        return adaptable_layers(self.facts.family, self.components)

    def targets(self, options: LayerOptions) -> dict[str, list[Target]]:
        """Component -> the layers that adapter `options` ask for, and how each learns.

        Raises:
            ConfigError: `config.rule`.
        """
        return choose(self.layers(), options)

    @property
    def prediction(self) -> Prediction:
        """What the model predicts."""
        return self.facts.prediction

    @property
    def size_step(self) -> int:
        """Sides of generated pictures are multiples of this, px."""
        return self.facts.factor

    @property
    def _shrink(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Shape (C, h, w) of the latents of a picture of this size in px."""
        return self.vae.config.latent_channels, height // self._shrink, width // self._shrink

    def schedule_options(self, width: int, height: int, steps: int) -> dict[str, Any]:
        """What `engine.generation.sampling.walk.make_walk` is told for a picture of this size in px: FLUX shifts its noise levels
        with it."""
        return {}

    @abstractmethod
    def conditioning(
        self, clip_skip: int, emphasis: Emphasis = "Original", embeddings: Embeddings | None = None
    ) -> TextConditioning:
        """The encoder of prompts, with the text encoders' weights as they are now.

        Args:
            emphasis: what weights in brackets do, where the text encoders can be told any.
            embeddings: those that prompts may name.
        """

    @abstractmethod
    def encode_tokens(self, captions: Sequence[str], clip_skip: int) -> Conditions:
        """Captions as training sees them, differentiable, cut at the tokenizers' lengths: the same lengths whatever they say."""

    def picture_conditions(self, placings: Sequence[Placing]) -> Conditions:
        """What the model is told of each picture's size and cut, for models that are told."""
        return {}

    def training_latents(self, encoded: Tensor, generator: torch.Generator) -> tuple[Tensor, Conditions]:
        """What is learnt of one picture: its latents (C, h, w), and conditions without a batch, from what `encode_pictures` gave."""
        return encoded, {}

    def mask_conditions(self, picture: Tensor, mask: Tensor) -> Conditions:
        """What the model is told of the picture (1, 3, H, W) in [-1, 1] that it repaints where `mask` (1, h, w) of its latents is 1,
        for models that are told."""
        return {}

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """What training keeps of pictures (B, 3, H, W) in [-1, 1]: their latents, and what it wants beside them."""
        return self.encode_latents(pictures)

    def encode_latents(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to scaled latents (B, C, h, w), float32: the mean of the posterior."""
        latents = self.vae.encode(pictures.to(self.device, self.vae.dtype)).latent_dist.mean.float()
        return (latents - (self.vae.config.shift_factor or 0.0)) * self.vae.config.scaling_factor

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) to pictures (B, 3, H, W) in [0, 1], float32."""
        latents = latents / self.vae.config.scaling_factor + (self.vae.config.shift_factor or 0.0)
        return (self.vae.decode(latents.to(self.vae.dtype)).sample.float() / 2 + 0.5).clamp(0, 1)

    @abstractmethod
    def predict(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """The model's prediction (B, C, h, w) for noisy latents and timesteps (B,).

        Timesteps are those of the schedule, 0 to 999; for flow matching the noise level times 1000, and the prediction is the
        velocity noise - picture.
        """

    @property
    def weights_key(self) -> dict[str, str]:
        """ "vae" and "text" -> a word for their weights, number format and scaling, for caches of what they encoded."""
        scale = f"{self.vae.config.scaling_factor}/{self.vae.config.shift_factor}"
        # Two families may have the same encoder and ask it differently.
        encoders = "/".join([
            f"{self.facts.family}-{self.facts.variant}",
            *(_fingerprint(self.parts[name]) for name in self.format.text_encoders if name in self.parts),
            *(_words(tokenizer) for tokenizer in self.tokenizers.values()),
        ])  # fmt: skip
        return {"vae": f"{_fingerprint(self.vae)}/{scale}", "text": encoders}


def adaptable_layers(family: str, components: Mapping[str, nn.Module]) -> dict[str, list[Layer]]:
    """Component -> every layer that can be adapted, in the network's own order."""
    found = {}
    for name, part in components.items():
        paths = [path for path, module in part.named_modules() if isinstance(module, ADAPTABLE)]
        listed = MODELS[family].parts[name].layers
        assert listed
        found[name] = listed(paths, config_of(part))
    return found


def config_of(part: Any) -> dict[str, Any]:
    """The config of a network of diffusers or transformers."""
    return part.config.to_dict() if hasattr(part.config, "to_dict") else dict(part.config)


def _words(tokenizer: Any) -> str:
    """SHA-256 over a tokenizer's vocabulary and what it fills up with."""
    words = sorted(tokenizer.get_vocab().items()), tokenizer.pad_token_id, tokenizer.eos_token_id
    return hashlib.sha256(repr(words).encode()).hexdigest()


def _fingerprint(part: nn.Module) -> str:
    """SHA-256 over the weights, their names and number format."""
    digest = hashlib.sha256(type(part).__name__.encode())
    for name, tensor in part.state_dict().items():
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
