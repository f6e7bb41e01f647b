"""How alike pictures are, as the base model itself sees them: features from the middle of its denoiser.

A picture is encoded, a little noise is added, and what the network holds half-way through is averaged over the picture (Tang et
al. 2023, Emergent Correspondence from Image Diffusion: such features tell things apart without any training for it). No other
model is needed. The numbers compare pictures made with one base model; they say nothing across models, and never that a picture is
good.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.families.base import Family, Placing
from engine.training.objectives import Diffusion, Flow

LEVELS = (0.15, 0.3)
"""How noisy the pictures are when the network looks at them, as a share of the schedule."""
AT_ONCE = 8


@dataclass(frozen=True)
class Score:
    """Of the pictures made with one adapter at one strength.

    Attributes:
        likeness: 0 where they are like those of the base model alone, 1 where they are like the training pictures; it may lie outside.
        diversity: how different they are from one another, as a multiple of how different those of the base model are.
        total: the harmonic mean of both, each cut to 0 to 1: high only where the pictures are alike and still differ.
    """

    likeness: float
    diversity: float
    total: float


@torch.no_grad()
def features(model: Family, pictures: Tensor, seed: int = 0) -> Tensor:
    """Features (N, D), float32 on the CPU, of pictures (N, 3, H, W) in [0, 1].

    The model must be without adapters, or they would look at themselves. The noise is the same for every picture.
    """
    with model.on_device(*model.encoders):
        told = model.conditioning(0 if model.facts.habits.clip_skip == 0 else 1).encode([""])[""]
    height, width = pictures.shape[-2:]
    told = told | model.picture_conditions([Placing((width, height), (0, 0), (width, height))])
    if model.facts.habits.distilled_guidance:
        told["guidance"] = torch.tensor([1.0], device=model.device)
    with model.on_device("vae"):
        latents = torch.cat([model.encode_pictures(part * 2 - 1) for part in pictures.split(AT_ONCE)])
    noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed)).to(latents)
    with model.on_device(model.format.denoiser):
        return torch.cat([_middle(model, part, noise, told) for part in latents.split(AT_ONCE)]).float().cpu()


def _middle(model: Family, latents: Tensor, noise: Tensor, told: Mapping[str, Tensor]) -> Tensor:
    """What the denoiser holds half-way, averaged over each picture and joined over LEVELS: (B, D)."""
    found: list[Tensor] = []
    watched = middle_layer(model.denoiser)
    handle = watched.register_forward_hook(lambda layer, given, out: found.append(_pooled(out)))
    flow, count = model.prediction == "flow", len(latents)
    objective = Flow("uniform") if flow else Diffusion(model.scheduler_config, model.prediction, model.device)
    try:
        for level in LEVELS:
            times = objective.at(level).to(latents.device).expand(count)
            noisy = objective.noisy(latents, noise.expand_as(latents), times)
            conditions = {name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in told.items()}
            model.predict(noisy, objective.timesteps(times), conditions)
    finally:
        handle.remove()
    return torch.cat([F.normalize(each, dim=-1) for each in found], dim=-1)


def middle_layer(denoiser: nn.Module) -> nn.Module:
    """The block half-way through a U-Net or a transformer."""
    if isinstance(middle := getattr(denoiser, "mid_block", None), nn.Module):
        return middle
    blocks = [
        block for _, child in denoiser.named_children() if isinstance(child, nn.ModuleList) and len(child) > 1 for block in child
    ]
    return blocks[len(blocks) // 2]


def _pooled(out: Tensor | Sequence[Tensor]) -> Tensor:
    """A block's output averaged over everything but batch and channels; of several streams the last is the picture's."""
    hidden = out if isinstance(out, Tensor) else out[-1]
    return hidden.float().flatten(2).mean(-1) if hidden.dim() == 4 else hidden.float().mean(1)


def score(training: Tensor, base: Tensor, made: Mapping[Hashable, Tensor]) -> dict[Hashable, Score]:
    """Scores of groups of pictures.

    Args:
        training: features (N, D) of the training pictures.
        base: of pictures by the base model alone, from the same prompts and seeds; at least two.
        made: group -> features of its pictures.
    """
    centre = base.mean(0)
    goal = training.mean(0) - centre
    usual = spread(base)
    scores = {}
    for group, found in made.items():
        likeness = float(((found.mean(0) - centre) @ goal) / (goal @ goal).clamp(min=1e-12))
        diversity = spread(found) / max(usual, 1e-6)
        scores[group] = Score(likeness, diversity, harmonic(likeness, diversity))
    return scores


def spread(found: Tensor) -> float:
    """Mean distance between two of the pictures; 0 of one alone."""
    return float(torch.pdist(found).mean()) if len(found) > 1 else 0.0


def harmonic(likeness: float, diversity: float) -> float:
    """The harmonic mean of both, cut to 0 to 1."""
    a, b = (min(max(value, 0.0), 1.0) for value in (likeness, diversity))
    return 2 * a * b / (a + b) if a + b else 0.0
