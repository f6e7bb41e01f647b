"""Pictures as tensors in [0, 1] and as 8-bit images of Pillow."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Size = tuple[int, int]
"""Width and height, px."""


def to_tensor(image: Image.Image) -> Tensor:
    """An 8-bit picture, RGB or grey, as (3, H, W) or (1, H, W) in [0, 1]."""
    values = torch.from_numpy(np.array(image)).float() / 255
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1).contiguous()


def to_image(picture: Tensor) -> Image.Image:
    """A picture (3, H, W) in [0, 1] as 8-bit RGB."""
    return Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def resized(picture: Tensor, size: Size, resampling: Image.Resampling = Image.Resampling.LANCZOS) -> Tensor:
    """A picture (3, H, W) in [0, 1] at another size, by way of 8 bits; untouched if it has it."""
    if size == (picture.shape[-1], picture.shape[-2]):
        return picture
    return to_tensor(to_image(picture).resize(size, resampling))
