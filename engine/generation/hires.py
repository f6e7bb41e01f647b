"""A second pass at a larger size (hires fix): small pictures hold together, large ones have the detail.

The first picture is enlarged, as latents or as pixels, noised again in part, and walked once more.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from engine.config.choices import Upscaler
from engine.families.base import Family
from engine.generation.pixels import Size, resized

LATENT: dict[str, dict] = {
    "Latent": {"mode": "bilinear"},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic"},
    "Latent (nearest)": {"mode": "nearest"},
}
"""Upscalers of latents, and how `torch.nn.functional.interpolate` is told."""
PICTURE = {"Lanczos": Image.Resampling.LANCZOS, "Nearest": Image.Resampling.NEAREST}
"""Upscalers of pixels."""


def larger(size: Size, scale: float, step: int) -> Size:
    """A size so many times as large, the largest that the model can draw within it, px."""
    return int(size[0] * scale) // step * step, int(size[1] * scale) // step * step


def share_of_steps(walked: int, denoising: float) -> tuple[int, float]:
    """Steps from noise to picture, and the share of them that is walked, so that the last `walked` are: AUTOMATIC1111's rule."""
    if denoising == 0:
        return walked, 0.0
    steps = int(walked / min(denoising, 0.999))
    return steps, (walked - 0.5) / steps  # half a step less: a whole one would begin another


def enlarge(latents: Tensor, size: Size, upscaler: Upscaler, model: Family) -> Tensor:
    """Latents (B, C, h, w) for pictures of a larger size."""
    if upscaler in LATENT:
        return F.interpolate(latents, model.latent_shape(*size)[1:], **LATENT[upscaler])
    with model.on_device("vae"):
        pictures = (resized(model.decode_latents(each[None])[0].cpu(), size, PICTURE[upscaler]) for each in latents)
        return torch.cat([model.encode_latents(picture[None] * 2 - 1) for picture in pictures])
