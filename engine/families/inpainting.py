"""U-Nets that repaint a part of a picture: beside the noisy latents they are told a mask and the latents of what it leaves.

The mask is 1 where the picture is repainted; there the picture is made grey before the VAE sees it. Training shows each picture
under `MASKS` masks that follow from its own pixels, so that they can be cached with it; without a mask all of it is repainted.
"""

from __future__ import annotations

import hashlib
import random
from functools import cached_property

import torch
from torch import Tensor

from engine.families.base import Conditions, Family

MASKS = 4
"""Masks of each training picture; the first hides all of it."""
SMALLEST, LARGEST = 0.1, 0.7
"""Share of the picture that the others hide."""


class Inpainting(Family):
    """A family whose U-Net may be an inpainting one: (C + 1 + C) channels in, C out."""

    @property
    def inpaints(self) -> bool:
        return self.denoiser.config.in_channels != self.denoiser.config.out_channels

    @property
    def weights_key(self) -> dict[str, str]:
        keys = super().weights_key
        return keys | {"vae": f"{keys['vae']}/{MASKS} masks"} if self.inpaints else keys

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to latents (B, C, h, w); for inpainting (B, C + MASKS * (1 + C), h, w): behind them
        each mask with the latents of what it leaves."""
        latents = self.encode_latents(pictures)
        if not self.inpaints:
            return latents
        masks = torch.stack([picture_masks(picture, latents.shape[-2], latents.shape[-1]) for picture in pictures])
        return torch.cat([latents, *(self._beside(pictures, mask) for mask in masks.unbind(1))], 1)

    def mask_conditions(self, picture: Tensor, mask: Tensor) -> Conditions:
        return {"inpaint": self._beside(picture, mask)} if self.inpaints else {}

    def _beside(self, pictures: Tensor, mask: Tensor) -> Tensor:
        """A mask (B, h, w) and the latents of what it leaves of pictures (B, 3, H, W): (B, 1 + C, h, w)."""
        shown = self.encode_latents(hide(pictures, mask))
        return torch.cat([mask[:, None].to(shown), shown], 1)

    def training_latents(self, encoded: Tensor, generator: torch.Generator) -> tuple[Tensor, Conditions]:
        if not self.inpaints:
            return encoded, {}
        channels = self.denoiser.config.out_channels
        shown = encoded[channels:].unflatten(0, (MASKS, 1 + channels))
        return encoded[:channels], {"inpaint": shown[int(torch.randint(MASKS, (), generator=generator))]}

    def unet_input(self, latents: Tensor, conditions: Conditions) -> Tensor:
        """What enters the U-Net for noisy latents (B, C, h, w), in its number format."""
        if self.inpaints:
            beside = conditions["inpaint"] if "inpaint" in conditions else self._everything(*latents.shape[-2:])
            latents = torch.cat([latents, beside.to(latents).expand(len(latents), -1, -1, -1)], 1)
        return latents.to(self.dtype)

    def _everything(self, height: int, width: int) -> Tensor:
        """The mask that hides all of a picture with latents of this size, and the latents of the grey it leaves: (1, 1 + C, h, w)."""
        if (height, width) not in self._hidden:
            with torch.no_grad():
                grey, everything = torch.zeros(1, 3, height * self._shrink, width * self._shrink), torch.ones(1, height, width)
                self._hidden[height, width] = self._beside(grey, everything)
        return self._hidden[height, width]

    @cached_property
    def _hidden(self) -> dict[tuple[int, int], Tensor]:
        """What `_everything` gave, by height and width: every step of a picture asks for it."""
        return {}


def hide(pictures: Tensor, mask: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) made grey where the mask (B, h, w) of their latents is 1."""
    height, width = (pictures.shape[axis] // mask.shape[axis - 1] for axis in (2, 3))
    covered = mask.repeat_interleave(height, 1).repeat_interleave(width, 2)
    return pictures * (1 - covered[:, None]).to(pictures)


def picture_masks(picture: Tensor, height: int, width: int) -> Tensor:
    """The masks (MASKS, height, width) of a picture (3, H, W): all of it, and rectangles that its pixels are the seed of."""
    pixels = picture.detach().to("cpu", torch.float32).contiguous()
    draw = random.Random(hashlib.sha256(pixels.numpy().tobytes()).digest())
    masks = torch.zeros(MASKS, height, width)
    masks[0] = 1
    for mask in masks[1:]:
        share, slant = draw.uniform(SMALLEST, LARGEST), draw.random()
        tall, wide = (max(1, round(side * share**part)) for side, part in ((height, slant), (width, 1 - slant)))
        top, left = draw.randint(0, height - tall), draw.randint(0, width - wide)
        mask[top : top + tall, left : left + wide] = 1
    return masks
