"""The modules that a name in a file means, without the model at hand: what is known of the family stands in for it.

Kohya's names write `.` as `_`, which paths have of their own. Of the transformers every path is known, from the layouts of single
files. A Stable Diffusion U-Net and a CLIP text encoder may have any number of levels; the parts of which their paths are made
tell the two apart. Pure functions on strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import product

from engine.formats.ldm_names import unet_from_ldm
from engine.formats.models import MODELS
from engine.formats.names import ModuleRef, NameIndex, Rows, name_starts, without_wrappers

MANY = 100
"""More blocks than any model has."""
SDXL_LAYERS_PER_BLOCK = 2
_UNET = """
down_blocks up_blocks mid_block attentions resnets downsamplers upsamplers conv conv1 conv2 conv_shortcut time_emb_proj
norm norm1 norm2 norm3 proj_in proj_out transformer_blocks attn1 attn2 to_q to_k to_v to_out ff net proj conv_in conv_out
conv_norm_out time_embedding add_embedding linear_1 linear_2
"""
_STORED_UNET = """
input_blocks middle_block output_blocks in_layers out_layers emb_layers skip_connection op conv out time_embed label_emb
norm norm1 norm2 norm3 proj_in proj_out transformer_blocks attn1 attn2 to_q to_k to_v to_out ff net proj
"""
_TEXT = """
encoder layers self_attn q_proj k_proj v_proj out_proj mlp fc1 fc2 layer_norm1 layer_norm2 final_layer_norm
text_projection embeddings token_embedding position_embedding
"""


def _grammar(words: str) -> re.Pattern[str]:
    """One part of a path and what ends it; a longer word before a shorter one that it begins with."""
    return re.compile(rf"({'|'.join(sorted(words.split(), key=len, reverse=True))}|\d+)(?:_|$)")


_GRAMMARS = {"unet": _grammar(_UNET), "clip": _grammar(_TEXT), "clip_projected": _grammar(_TEXT)}
_STORED = _grammar(_STORED_UNET)


def module_refs(name: str, family: str, blocks: int = MANY) -> dict[ModuleRef, Rows]:
    """The modules that any writer's name means, each with its rows, by diffusers' paths and without CLIP's `text_model` level.

    None when they are no part of such a model, or when it is a U-Net's that is named as in the original checkpoints
    (`input_blocks`), whose numbers mean different places in different models; those of SDXL are alike.

    Args:
        blocks: how many joint blocks the model has, for SD3; see `joint_blocks`.
    """
    flat = name.replace(".", "_").removeprefix("base_model_model_")
    for start, component in name_starts(family):
        part = MODELS[family].parts[component]
        if flat.startswith(start) and part.kind in _GRAMMARS:
            rest = without_wrappers(flat.removeprefix(start))
            path = _dotted(_GRAMMARS[part.kind], rest)
            if not path and family == "sdxl" and component == "unet" and (stored := _dotted(_STORED, rest)):
                path = unet_from_ldm([stored], SDXL_LAYERS_PER_BLOCK).get(stored)
            if path:
                return {ModuleRef(component, path): ()}
    return _index(family, blocks).find(name)


def joint_blocks(shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> int:
    """How many joint blocks the SD3 model has that an adapter is for: the text of the last one has two modulations instead of six.

    Args:
        shapes: module name -> suffix -> shape.
    """
    for name, sizes in shapes.items():
        down, up = sizes.get("lora_down.weight", ()), sizes.get("lora_up.weight", ())
        named = re.search(r"blocks[._](\d+)[._](?:norm1_context|context_block[._]adaLN)", name)
        if named and len(down) == 2 and up[0] == 2 * down[1]:
            return int(named[1]) + 1
    return MANY


@lru_cache
def _index(family: str, blocks: int) -> NameIndex:
    """Of every path that the transformers of a family could have."""
    model = MODELS[family]
    tables = {name: getattr(part.keys, "lines", ()) for name, part in model.parts.items() if part.layers}
    return NameIndex(family, {
        name: [path for line in lines for path in _numbered(line.own, blocks)]
        for name, lines in tables.items() if model.parts[name].kind not in _GRAMMARS
    })  # fmt: skip


def _numbered(path: str, blocks: int) -> Iterable[str]:
    """A path with every number that its `{}` may stand for."""
    return (path.format(*numbers) for numbers in product(range(blocks), repeat=path.count("{}")))


def _dotted(grammar: re.Pattern[str], flat: str) -> str | None:
    parts, rest = [], flat
    while rest:
        if not (part := grammar.match(rest)):
            return None
        parts.append(part[1])
        rest = rest[part.end() :]
    return ".".join(parts) or None
