"""The networks of base models as walks of a `Sketch`. The dictionaries are the places that list them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.memory.networks.flux import flux
from engine.memory.networks.sd3 import sd3
from engine.memory.networks.text import clip, clip_projected, qwen3, t5
from engine.memory.networks.unet import unet
from engine.memory.networks.z_image import z_image
from engine.memory.sketch import Sketch
from engine.memory.values import Value

DENOISERS: dict[str, Callable[[Sketch, Mapping[str, Any], int, int, Value], Value]] = {
    "unet": unet, "sd3": sd3, "flux": flux, "z_image": z_image,
}  # fmt: skip
"""Kind of a part -> its walk: (sketch, config, width and height of the latents, encoded text)."""
TEXT_ENCODERS: dict[str, Callable[[Sketch, Mapping[str, Any], int], Value]] = {
    "clip": clip, "clip_projected": clip_projected, "t5": t5, "qwen3": qwen3,
}  # fmt: skip
"""Kind of a part -> its walk: (sketch, config, tokens of a text)."""
TEXT_WIDTH = {
    "unet": "cross_attention_dim",
    "sd3": "joint_attention_dim",
    "flux": "joint_attention_dim",
    "z_image": "cap_feat_dim",
}
"""Denoiser -> the entry of its config that says how many numbers a token of the text has."""
