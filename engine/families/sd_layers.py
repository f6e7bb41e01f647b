"""The layers of a loaded Stable Diffusion U-Net and of a loaded CLIP text encoder that adapters may change."""

from __future__ import annotations

from typing import Any

from torch import nn

from engine.config.targets import Layer
from engine.formats.sd_layers import sd_layers

_LAYERS = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)


def unet_layers(unet: Any) -> list[Layer]:
    """The layers of a UNet2DConditionModel, in its own order."""
    return sd_layers("unet", _paths(unet), unet.config)


def text_layers(encoder: Any) -> list[Layer]:
    """The layers of a CLIPTextModel, in its own order."""
    return sd_layers("text_encoder", _paths(encoder), encoder.config.to_dict())


def _paths(part: nn.Module) -> list[str]:
    return [path for path, module in part.named_modules() if isinstance(module, _LAYERS)]
