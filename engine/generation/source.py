"""Pictures that others start from (img2img), and what of them shall change (inpaint).

Everything here is about pixels: the picture comes to the size that is drawn, the mask with it, and what was drawn goes back to
its place. Where the mask is black the result is the original picture, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from engine.config.choices import MaskedContent
from engine.config.generate import SourceOptions
from engine.datasets.decode import Colour, fit, load_picture, picture_size
from engine.errors import ConfigError, DatasetError
from engine.families.base import Family
from engine.generation.pixels import Size, resized, to_tensor

BLACK: Colour = (0, 0, 0)
WHITE_FROM = 128
"""Grey from which a mask counts as white."""


@dataclass(frozen=True)
class Mask:
    """What changes of a picture, and where it goes when it is drawn.

    Attributes:
        change: (1, H, W), 1 where the drawn picture changes, else 0.
        content: what the changed part starts from.
        canvas: (3, H', W') in [0, 1], the whole picture.
        share: (1, H', W'), of the drawn picture in the whole one: 0 leaves the original.
        box: left, top, right and bottom of the drawn picture on the canvas, px.
    """

    change: Tensor
    content: MaskedContent
    canvas: Tensor
    share: Tensor
    box: tuple[int, int, int, int]

    def put_back(self, pictures: Tensor) -> Tensor:
        """Drawn pictures (B, 3, H, W) in their place on the canvas, (B, 3, H', W')."""
        left, top, right, bottom = self.box
        drawn = self.canvas.repeat(len(pictures), 1, 1, 1)
        drawn[..., top:bottom, left:right] = torch.stack([resized(picture, (right - left, bottom - top)) for picture in pictures])
        return torch.lerp(self.canvas, drawn, self.share)


@dataclass(frozen=True)
class SourcePicture:
    """What pictures start from.

    Attributes:
        picture: (3, H, W) in [0, 1], at the size that is drawn.
        denoising: how far pictures may go from it, 0 to 1.
        mask: None where all of it may change.
    """

    picture: Tensor
    denoising: float
    mask: Mask | None = None


def load_source(options: SourceOptions, size: Size) -> SourcePicture | None:
    """The picture that a request starts from, for pictures of this size; None if it starts from noise.

    Raises:
        DatasetError: `picture.unreadable`, `picture.too_large`.
        ConfigError: `source.mask_shape`, `source.mask_empty`.
    """
    if not options.picture:
        return None
    picture = _load(options.picture, "source.picture")
    if not options.mask:
        return SourcePicture(to_tensor(_place(picture, size, options.resize)), options.denoising)
    mask = _load_mask(options.mask, picture.size)
    if not options.only_masked:
        picture, mask = (_place(image, size, options.resize) for image in (picture, mask))
    mask = _white(mask, options.invert_mask)
    box = _surroundings(mask, options.padding, size) if options.only_masked else (0, 0, *size)
    shown = to_tensor(picture.crop(box).resize(size, Image.Resampling.LANCZOS))
    change = F.adaptive_max_pool2d(to_tensor(mask.crop(box)), size[::-1])  # smaller, a pixel is white where any behind it is
    soft = to_tensor(mask.filter(ImageFilter.GaussianBlur(options.mask_blur)) if options.mask_blur else mask)
    if options.masked_content == "fill":
        shown = filled(shown, 1 - change)
    return SourcePicture(shown, options.denoising, Mask(change, options.masked_content, to_tensor(picture), soft, box))


def source_size(options: SourceOptions, width: int, height: int, model: Family) -> Size:
    """The size that is drawn of a source, where 0 is left to it: its own, at most as many pixels as the model was made for.

    Raises:
        DatasetError: `picture.unreadable`, `picture.too_large`.
    """
    if width and height:
        return width, height
    try:
        own = picture_size(Path(options.picture))
    except DatasetError as error:
        error.values.setdefault("field", "source.picture")
        raise
    scale = width / own[0] or height / own[1] or min(1.0, model.facts.resolution / math.sqrt(own[0] * own[1]))
    wide, tall = (max(1, round(side * scale / model.size_step)) * model.size_step for side in own)
    return width or wide, height or tall


def filled(picture: Tensor, known: Tensor) -> Tensor:
    """A picture (3, H, W) whose unknown part is made of its surroundings; `known` (1, H, W) is 1 or 0.

    Pull and push (Gortler et al. 1996, The Lumigraph, section 3.4): known pixels are averaged into pictures of half the size until
    nothing is unknown, and those, enlarged, fill the larger ones.
    """
    if known.all():
        return picture
    if not known.any():
        return torch.full_like(picture, 0.5)
    halves = F.avg_pool2d(torch.cat([picture * known, known])[None], 2, ceil_mode=True)[0]
    weight = halves[3:]
    coarse = filled(halves[:3] / weight.clamp(min=1e-6), (weight > 0).float())
    around = F.interpolate(coarse[None], picture.shape[-2:], mode="bilinear")[0]
    return torch.where(known.bool(), picture, around)


def _load(path: str, field: str, background: Colour = (255, 255, 255)) -> Image.Image:
    try:
        return load_picture(Path(path), background)
    except DatasetError as error:
        error.values.setdefault("field", field)
        raise


def _load_mask(path: str, size: Size) -> Image.Image:
    """The mask in grey; what is transparent in it is black."""
    mask = _load(path, "source.mask", BLACK).convert("L")
    if mask.size != size:
        found, wanted = (f"{width} x {height}" for width, height in (mask.size, size))
        raise ConfigError(
            "source.mask_shape", f"The mask is {found} px, its picture {wanted} px.", "The mask has the size of the picture.",
            "Paint it on the picture, or resize it.", field="source.mask", mask=found, picture=wanted,
        )  # fmt: skip
    return mask


def _white(mask: Image.Image, invert: bool) -> Image.Image:
    """A mask in black and white, white where the picture changes."""
    mask = mask.point(lambda grey: 255 if (grey >= WHITE_FROM) != invert else 0)
    if mask.getbbox() is None:
        raise ConfigError(
            "source.mask_empty", "The mask leaves nothing to change.", "White where the picture shall change, black elsewhere.",
            "Paint something, invert the mask, or leave it out.", field="source.mask",
        )  # fmt: skip
    return mask


def _place(image: Image.Image, size: Size, resize: str) -> Image.Image:
    """A picture at the size that is drawn: its middle ("crop"), all of it with its edges drawn out ("fill"), or bent ("stretch")."""
    if image.size == size or resize == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    scales = [size[axis] / image.size[axis] for axis in (0, 1)]
    scale = max(scales) if resize == "crop" else min(scales)
    inner = tuple(max(1, round(side * scale)) for side in image.size)
    if resize == "crop":
        return fit(image, (max(inner[0], size[0]), max(inner[1], size[1])), size)
    array = np.asarray(image.resize((min(inner[0], size[0]), min(inner[1], size[1])), Image.Resampling.LANCZOS))
    lacking = [size[axis] - array.shape[1 - axis] for axis in (1, 0)]
    around = [(each // 2, each - each // 2) for each in lacking] + [(0, 0)] * (array.ndim - 2)
    return Image.fromarray(np.pad(array, around, mode="edge"))


def _surroundings(mask: Image.Image, padding: int, size: Size) -> tuple[int, int, int, int]:
    """The box around what is white and so many px more, as near to the shape of `size` as the picture has room for."""
    found = mask.getbbox()
    assert found  # an empty mask was refused
    low = [max(0, found[axis] - padding) for axis in (0, 1)]
    high = [min(mask.size[axis], found[axis + 2] + padding) for axis in (0, 1)]
    scale = max((high[axis] - low[axis]) / size[axis] for axis in (0, 1))
    for axis in (0, 1):
        length = min(mask.size[axis], max(high[axis] - low[axis], round(size[axis] * scale)))
        start = (low[axis] + high[axis] - length) // 2
        low[axis] = min(max(0, start), mask.size[axis] - length)
        high[axis] = low[axis] + length
    return low[0], low[1], high[0], high[1]
