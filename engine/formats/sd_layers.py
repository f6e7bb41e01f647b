"""The layers of a Stable Diffusion U-Net and of a CLIP text encoder that adapters may change, told by their names.

Groups are those of Kohya's trainer: of SD1.5's U-Net attention and feed-forward make 192 layers, with convolutions 278; its text
encoder has 72. "other" is what LyCORIS' `full` adds: the way in and out, and the embedding of time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from engine.config.targets import Group, Layer

_BLOCK = r"transformer_blocks\.\d+\."
_PATTERNS: dict[str, tuple[tuple[Group, re.Pattern[str]], ...]] = {
    "unet": (
        ("attention", re.compile(rf".*\.attentions\.\d+\.{_BLOCK}attn[12]\.to_(q|k|v|out\.0)")),
        ("mlp", re.compile(rf".*\.attentions\.\d+\.(proj_in|proj_out|{_BLOCK}ff\.net\.(0\.proj|2))")),
        (
            "convolution",
            re.compile(r".*\.(resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)|(down|up)samplers\.\d+\.conv)"),
        ),
        ("other", re.compile(r"conv_in|conv_out|(time|add)_embedding\.linear_[12]")),
        ("norm", re.compile(r"conv_norm_out|.*\.norm[123]?")),
    ),
    "text_encoder": (
        ("attention", re.compile(r"(text_model\.)?encoder\.layers\.\d+\.self_attn\.(q|k|v|out)_proj")),
        ("mlp", re.compile(r"(text_model\.)?encoder\.layers\.\d+\.mlp\.fc[12]")),
        ("norm", re.compile(r"(text_model\.)?(encoder\.layers\.\d+\.layer_norm[12]|final_layer_norm)")),
    ),
}
_PROJECTION = re.compile(r"(?P<attention>.*\.(attn1|attn2|self_attn))\.(to_)?(?P<what>q|k|v|out)(_proj|\.0)?")


def sd_layers(component: str, paths: Iterable[str], config: Mapping[str, Any]) -> list[Layer]:
    """The layers among these module paths, in their order.

    Args:
        component: "unet" or "text_encoder".
        paths: of modules that have weights, as diffusers and transformers name them.
        config: the component's, which knows the number of attention heads.
    """
    found = []
    for path in paths:
        group = next((group for group, pattern in _PATTERNS[component] if pattern.fullmatch(path)), None)
        if group:
            found.append(_projection(path, _heads(path, config)) if group == "attention" else Layer(path, group))
    switch = "train_unet" if component == "unet" else "train_text_encoder"
    return [replace(layer, switch=switch) for layer in found]


def _projection(path: str, heads: int) -> Layer:
    """An attention projection: q, k and v have a head's rows together, the way out its columns."""
    named = _PROJECTION.fullmatch(path)
    assert named
    if named["what"] == "out":
        return Layer(path, "attention", heads, "inputs")
    crossed = path.rsplit(".", 2)[-2] == "attn2"  # its queries come from the picture, its keys and values from the words
    shared = "" if crossed and named["what"] == "q" else named["attention"]
    return Layer(path, "attention", heads, "outputs", shared)


def _heads(path: str, config: Mapping[str, Any]) -> int:
    """diffusers' `attention_head_dim` is the number of heads, by an old mistake; one for each level on the way down, or one for all."""
    heads = config.get("num_attention_heads") or config.get("attention_head_dim") or 8
    if isinstance(heads, int):
        return heads
    block, level, *_ = path.split(".")
    if block == "mid_block":
        return heads[-1]
    return heads[int(level) if block == "down_blocks" else -1 - int(level)]
