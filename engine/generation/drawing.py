"""Passes of the sampler over the latents of a few pictures, from noise or from latents that are there.

Knows when to call whom: who watches is told of each step and shown the pictures on their way, which changes nothing in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.config.choices import MaskedContent
from engine.config.generate import GenerateConfig
from engine.families.attention import attention
from engine.families.base import Conditions, Family, Placing
from engine.generation.guidance import Telling, predict
from engine.generation.pixels import Size
from engine.generation.preview import Preview
from engine.generation.sampling.noise import PictureNoise
from engine.generation.sampling.walk import Walk
from engine.generation.source import SourcePicture

Progress = Callable[[int, int], None]
"""Called with denoiser calls done and in all; stops everything by raising."""
OnStep = Callable[[int, int], None]
"""Called before each denoiser call with the step it belongs to, from 1, and the steps of the pass."""
OnPreview = Callable[[Tensor], None]
"""Called with pictures on their way, (B, 3, h, w) in [0, 1] on the CPU."""


@dataclass(frozen=True)
class Pass:
    """One walk at one size; None where what it starts from stays as it is (denoising strength 0)."""

    size: Size
    walk: Walk | None
    telling: Telling

    @property
    def calls(self) -> int:
        return self.walk.calls if self.walk else 0


@dataclass(frozen=True)
class Start:
    """Latents that a pass starts from.

    Attributes:
        latents: (1 or B, C, h, w).
        change: (1, 1, h, w), where they change; None everywhere.
        content: what the changed part starts from.
        conditions: what the model is told of the picture behind them.
    """

    latents: Tensor
    change: Tensor | None = None
    content: MaskedContent = "original"
    conditions: Conditions = field(default_factory=dict)

    @classmethod
    def of(cls, source: SourcePicture, model: Family) -> Start:
        """A picture as latents. A latent changes where any pixel behind it does."""
        picture = source.picture[None] * 2 - 1
        with model.on_device("vae"):
            latents = model.encode_latents(picture)
            if source.mask is None:
                return cls(latents)
            change = F.adaptive_max_pool2d(source.mask.change[None], latents.shape[-2:]).to(latents)
            return cls(latents, change.bool(), source.mask.content, model.mask_conditions(picture, change[0]))

    def filled(self, noise: Tensor) -> Tensor:
        """The latents (B, C, h, w), the changed part made of what it starts from."""
        if self.change is not None and self.content in ("noise", "nothing"):
            return torch.where(self.change, noise if self.content == "noise" else 0.0, self.latents)
        return self.latents.expand_as(noise)


@dataclass(frozen=True)
class Watching:
    """Who is told of the pictures on their way.

    Attributes:
        preview: how latents are shown; None shows none.
        every: steps between two previews.
    """

    on_progress: Progress | None = None
    on_step: OnStep | None = None
    on_preview: OnPreview | None = None
    preview: Preview | None = None
    every: int = 1

    def show(self, walk: Walk, call: int, output: Tensor, latents: Tensor) -> None:
        """Show what a call makes of latents (B, C, h, w), where it is the first of a step whose turn it is."""
        step = walk.step_of(call)
        if self.on_preview and self.preview and step % self.every == 0 and (call == 0 or walk.step_of(call - 1) != step):
            self.on_preview(self.preview(walk.picture(output, call, latents)))


class Drawing:
    """The passes of one request.

    Args:
        encoded: text -> its conditions, for every text of the passes.
        calls: of all passes.
    """

    def __init__(
        self, model: Family, config: GenerateConfig, seeds: Sequence[int], variation_seeds: Sequence[int],
        encoded: Mapping[str, Conditions], calls: int, watching: Watching,
    ) -> None:  # fmt: skip
        self.model, self.config, self.encoded, self.watching = model, config, encoded, watching
        self.seeds, self.variation_seeds = seeds, variation_seeds
        self.calls, self.done = calls, 0

    def draw(self, plan: Pass, start: Start | None) -> Tensor:
        """The clean latents (B, C, h, w) at the end of a pass, with noise of its own from the same seeds."""
        noise = self._noise(plan.size)
        first = noise.first()
        latents = start.filled(first) if start else None
        if plan.walk is None:
            assert latents is not None
            return latents
        common = self._common(plan, start)
        latents = plan.walk.begin(first, latents)
        with self.model.on_device(self.model.format.denoiser), attention(self.config.attention):
            for call in range(plan.walk.calls):
                output = self._ask(plan.walk, plan.telling, call, latents, common)
                latents = plan.walk.advance(output, call, latents, noise)
                if start and start.change is not None:
                    latents = torch.where(start.change, latents, plan.walk.noised(start.latents, first, call))
                self.done += 1
                if self.watching.on_progress:
                    self.watching.on_progress(self.done, self.calls)
        return latents

    def _ask(self, walk: Walk, telling: Telling, call: int, latents: Tensor, common: Conditions) -> Tensor:
        """The guided prediction (B, C, h, w) of one call, shown to who watches."""
        if self.watching.on_step:
            self.watching.on_step(walk.step_of(call), walk.steps)
        rows = [self.encoded[text] | common for text in telling.at(call)]
        predictions = predict(self.model, walk.model_input(latents, call), walk.timesteps[call], rows)
        output = telling.guide(predictions)
        self.watching.show(walk, call, output, latents)
        return output

    def _noise(self, size: Size) -> PictureNoise:
        config = self.config
        return PictureNoise(
            self.model.latent_shape(*size), self.seeds, self.model.device, source=config.noise_source,
            variation_seeds=self.variation_seeds, variation_strength=config.variation_strength, delta=config.eta_noise_seed_delta,
        )  # fmt: skip

    def _common(self, plan: Pass, start: Start | None) -> Conditions:
        """What every text of a pass is told beside its words."""
        common = self.model.picture_conditions([Placing(plan.size, (0, 0), plan.size)])
        if self.config.distilled_guidance:
            common["guidance"] = torch.tensor([self.config.distilled_guidance], device=self.model.device)
        return common | (start.conditions if start else {})
