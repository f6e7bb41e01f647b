"""The layers of a Stable Diffusion U-Net and of a CLIP text encoder that adapters may change, by what they do.

Groups are those of Kohya's trainer: of SD1.5's U-Net attention and feed-forward make 192 layers, with convolutions 278; its text
encoder has 72. "other" is what LyCORIS' `full` adds: the way in and out, and the embedding of time.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from engine.config.targets import Group, Layer

_BLOCK = r"transformer_blocks\.\d+\."
_UNET: tuple[tuple[Group, re.Pattern[str]], ...] = (
    ("attention", re.compile(rf".*\.attentions\.\d+\.{_BLOCK}attn[12]\.to_(q|k|v|out\.0)")),
    ("mlp", re.compile(rf".*\.attentions\.\d+\.(proj_in|proj_out|{_BLOCK}ff\.net\.(0\.proj|2))")),
    ("convolution", re.compile(r".*\.(resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)|(down|up)samplers\.\d+\.conv)")),
    ("other", re.compile(r"conv_in|conv_out|time_embedding\.linear_[12]")),
    ("norm", re.compile(r"conv_norm_out|.*\.norm[123]?")),
)
_TEXT: tuple[tuple[Group, re.Pattern[str]], ...] = (
    ("attention", re.compile(r"(text_model\.)?encoder\.layers\.\d+\.self_attn\.(q|k|v|out)_proj")),
    ("mlp", re.compile(r"(text_model\.)?encoder\.layers\.\d+\.mlp\.fc[12]")),
    ("norm", re.compile(r"(text_model\.)?(encoder\.layers\.\d+\.layer_norm[12]|final_layer_norm)")),
)
_PROJECTION = re.compile(r"(?P<attention>.*\.(attn1|attn2|self_attn))\.(to_)?(?P<what>q|k|v|out)(_proj|\.0)?")
_LAYERS = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)


def unet_layers(unet: nn.Module) -> list[Layer]:
    """The layers of a U-Net, in its own order."""
    return _layers(unet, _UNET)


def text_layers(encoder: nn.Module) -> list[Layer]:
    """The layers of a CLIP text encoder, in its own order."""
    return _layers(encoder, _TEXT)


def _layers(part: nn.Module, patterns: tuple[tuple[Group, re.Pattern[str]], ...]) -> list[Layer]:
    modules = dict(part.named_modules())
    found = []
    for path, module in modules.items():
        group = next((group for group, pattern in patterns if pattern.fullmatch(path)), None)
        if group and isinstance(module, _LAYERS):
            found.append(_projection(path, modules) if group == "attention" else Layer(path, group))
    return found


def _projection(path: str, modules: dict[str, nn.Module]) -> Layer:
    """An attention projection: q, k and v have a head's rows together, the way out its columns."""
    named = _PROJECTION.fullmatch(path)
    assert named
    attention: Any = modules[named["attention"]]
    heads = getattr(attention, "heads", None) or attention.num_heads
    if named["what"] == "out":
        return Layer(path, "attention", heads, "inputs")
    crossed = path.rsplit(".", 2)[-2] == "attn2"  # its queries come from the picture, its keys and values from the words
    shared = "" if crossed and named["what"] == "q" else named["attention"]
    return Layer(path, "attention", heads, "outputs", shared)
