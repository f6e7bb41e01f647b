"""The noise of each picture, by AUTOMATIC1111's rules.

A picture has a generator of its own, so it looks the same alone and in a batch. Noise is drawn in float32 on the CPU whatever
the device, so a seed means the same picture everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.config.choices import NoiseSource
from engine.generation.sampling.philox import PhiloxGenerator

PARALLEL = 0.9995
"""Mean cosine above which two noises count as parallel."""


class CPUGenerator:
    """What `torch.randn` draws with a generator on the CPU."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator("cpu").manual_seed(seed)

    def randn(self, shape: tuple[int, ...]) -> Tensor:
        """The next draw: unit noise of `shape`, float32."""
        return torch.randn(shape, generator=self._generator)


GENERATORS: dict[NoiseSource, type[CPUGenerator] | type[PhiloxGenerator]] = {"CPU": CPUGenerator, "NV": PhiloxGenerator}


class PictureNoise:
    """Unit noise for a batch, each picture's from its own generator.

    Args:
        shape: of one picture's latents, (C, h, w).
        seeds: one per picture.
        variation_seeds: one per picture, used where `variation_strength` is above 0.
        variation_strength: how far the first noise goes towards that of the variation seed, 0 to 1.
        delta: added to the seeds for all draws but the first (eta noise seed delta).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        seeds: Sequence[int],
        device: torch.device | str,
        *,
        source: NoiseSource = "CPU",
        variation_seeds: Sequence[int] = (),
        variation_strength: float = 0.0,
        delta: int = 0,
    ) -> None:
        self.shape, self.seeds, self.device = shape, list(seeds), device
        self.variation_seeds, self.variation_strength, self.delta = list(variation_seeds), variation_strength, delta
        self._generator = GENERATORS[source]
        self._generators = [self._generator(seed) for seed in self.seeds]

    def first(self) -> Tensor:
        """The noise that pictures start from: (B, C, h, w)."""
        drawn = [generator.randn(self.shape) for generator in self._generators]
        if self.variation_strength:
            others = [self._generator(seed).randn(self.shape) for seed in self.variation_seeds]
            drawn = [slerp(one, other, self.variation_strength) for one, other in zip(drawn, others, strict=True)]
        if self.delta:
            self._generators = [self._generator(seed + self.delta) for seed in self.seeds]
        return torch.stack(drawn).to(self.device)

    def next(self) -> Tensor:
        """Fresh noise for a step: (B, C, h, w)."""
        return torch.stack([generator.randn(self.shape) for generator in self._generators]).to(self.device)


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """From `start` to `end` on an arc, which keeps noise as strong as it was (Shoemake 1985).

    Angles are taken between the columns (along h) of one picture's noise (C, h, w), as AUTOMATIC1111 does. On a straight line
    where the two are parallel, for there the arc has no plane.
    """
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=1).unsqueeze(1)
    if cosine.mean() > PARALLEL:
        return torch.lerp(start, end, share)
    angle = cosine.acos()
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()
