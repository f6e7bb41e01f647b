"""In which block of `engine.generation.blocks` each layer of a model lies. Names only, no torch.

    U-Nets     IN, MID and OUT are input_blocks, middle_block and output_blocks of the original checkpoints; BASE the text encoders
    FLUX       D and S are double_blocks and single_blocks; IN and OUT the ways in and out; CLIP and T5 the text encoders

What surrounds a U-Net's blocks (the embedding of time, the way out) lies in none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.formats.ldm_names import unet_to_ldm

_UNET = re.compile(r"(?P<kind>input|output|middle)_block(?:s\.(?P<number>\d+))?\.")
_SIDES = {"input": "IN", "output": "OUT"}
_FLUX = re.compile(r"(?P<single>single_)?transformer_blocks\.(?P<number>\d+)\.")
_FLUX_ENDS = {"norm_out": "OUT", "proj_out": "OUT"}
_TEXT = {"flux": {"text_encoder": "CLIP", "text_encoder_2": "T5"}}


def block_places(family: str, component: str, paths: Iterable[str]) -> dict[str, str]:
    """Path of a layer -> its block; layers in none are missing.

    Args:
        family: one that `engine.generation.blocks.LISTS` has.
        paths: of all layers of the component: where a U-Net's block stands follows from how many there are.
    """
    paths = list(paths)
    if component.startswith("text_encoder"):
        return dict.fromkeys(paths, _TEXT.get(family, {}).get(component, "BASE"))
    if family == "flux":
        return {path: _flux_block(path) for path in paths}
    found = {path: _UNET.match(stored) for path, stored in unet_to_ldm(paths).items()}
    return {path: _unet_block(match) for path, match in found.items() if match}


def _unet_block(match: re.Match[str]) -> str:
    return "MID" if match["kind"] == "middle" else f"{_SIDES[match['kind']]}{int(match['number']):02}"


def _flux_block(path: str) -> str:
    if found := _FLUX.match(path):
        return f"{'S' if found['single'] else 'D'}{int(found['number']):02}"
    return _FLUX_ENDS.get(path.split(".")[0], "IN")
