"""The dotted path of a module whose name in a file has lost its dots, without the model at hand.

Kohya's names write `.` as `_`, which paths have of their own; the parts of which a Stable Diffusion U-Net and a CLIP text
encoder are made tell the two apart. Pure functions on strings.
"""

from __future__ import annotations

import re

from engine.formats.names import READ_PREFIXES, Component, ModuleRef, without_wrappers

_UNET = """
down_blocks up_blocks mid_block attentions resnets downsamplers upsamplers conv conv1 conv2 conv_shortcut time_emb_proj
norm norm1 norm2 norm3 proj_in proj_out transformer_blocks attn1 attn2 to_q to_k to_v to_out ff net proj conv_in conv_out
conv_norm_out time_embedding add_embedding linear_1 linear_2
"""
_TEXT = """
encoder layers self_attn q_proj k_proj v_proj out_proj mlp fc1 fc2 layer_norm1 layer_norm2 final_layer_norm
text_projection embeddings token_embedding position_embedding
"""


def _grammar(words: str) -> re.Pattern[str]:
    """One part of a path and what ends it; a longer word before a shorter one that it begins with."""
    return re.compile(rf"({'|'.join(sorted(words.split(), key=len, reverse=True))}|\d+)(?:_|$)")


_GRAMMARS: dict[Component, re.Pattern[str]] = {
    "unet": _grammar(_UNET),
    "text_encoder": _grammar(_TEXT),
    "text_encoder_2": _grammar(_TEXT),
}


def module_ref(name: str) -> ModuleRef | None:
    """The module that any writer's name means, by diffusers' paths and without the `text_model` level.

    None when it is no part of such a model, or named as in the original checkpoints (`input_blocks`), whose numbers mean
    different places in different models.
    """
    flat = name.replace(".", "_")
    for prefix, components in READ_PREFIXES:
        for component in components if flat.startswith(prefix) else ():
            if path := _dotted(_GRAMMARS[component], without_wrappers(flat.removeprefix(prefix))):
                return ModuleRef(component, path)
    return None


def _dotted(grammar: re.Pattern[str], flat: str) -> str | None:
    parts, rest = [], flat
    while rest:
        if not (part := grammar.match(rest)):
            return None
        parts.append(part[1])
        rest = rest[part.end() :]
    return ".".join(parts) or None
