"""Block weights of an adapter tag (`lbw=`): which blocks a list of numbers or a preset's name stands for.

Blocks are named as in the original checkpoints: BASE is the text encoder, IN, MID and OUT the U-Net's halves and middle.
Knows names only; which module lies in which block is known to the families.
"""

from __future__ import annotations

import math


def _numbered(prefix: str, numbers: range | list[int], digits: int = 2) -> list[str]:
    return [f"{prefix}{number:0{digits}}" for number in numbers]


# By the length of the list: what an adapter on attention only (12, 17) or on convolutions too (20, 26) can have.
BLOCKS: dict[int, tuple[str, ...]] = {
    12: ("BASE", *_numbered("IN", [4, 5, 7, 8]), "MID", *_numbered("OUT", range(6))),  # SDXL LoRA
    17: ("BASE", *_numbered("IN", [1, 2, 4, 5, 7, 8]), "MID", *_numbered("OUT", range(3, 12))),  # SD1 LoRA
    20: ("BASE", *_numbered("IN", range(9)), "MID", *_numbered("OUT", range(9))),  # SDXL LoCon
    26: ("BASE", *_numbered("IN", range(12)), "MID", *_numbered("OUT", range(12))),  # SD1 LoCon
    61: ("CLIP", "T5", "IN", *_numbered("D", range(19)), *_numbered("S", range(38)), "OUT"),  # FLUX
}
# Where the shallow input blocks end and the deep output blocks end.
DEPTHS: dict[int, tuple[int, int]] = {12: (5, 2), 17: (4, 6), 20: (5, 2), 26: (4, 6)}
PRESETS = ("NONE", "ALL", "INS", "IND", "INALL", "MIDD", "OUTD", "OUTS", "OUTALL")


def parse_blocks(text: str) -> str | tuple[float, ...]:
    """Read the value of `lbw=`.

    Raises:
        ValueError: neither a preset's name nor a list of a known length.
    """
    if text in PRESETS:
        return text
    weights = tuple(float(number) for number in text.split(","))
    if len(weights) not in BLOCKS or not all(map(math.isfinite, weights)):
        raise ValueError(text)
    return weights


def block_weights(value: str | tuple[float, ...], length: int) -> dict[str, float]:
    """Strength factor by block name.

    Args:
        value: what `parse_blocks` gave.
        length: which list the adapter's base and kind call for (a key of BLOCKS); it matters for presets only.
    """
    if not isinstance(value, str):
        return dict(zip(BLOCKS[len(value)], value, strict=True))
    return {block: float(_in_preset(value, block, length)) for block in BLOCKS[length]}


def _in_preset(preset: str, block: str, length: int) -> bool:
    if preset in ("NONE", "ALL") or length not in DEPTHS or block == "BASE":
        return preset != "NONE"
    shallow_in, deep_out = DEPTHS[length]
    if block == "MID":
        return preset == "MIDD"
    side, number = ("IN", int(block[2:])) if block.startswith("IN") else ("OUT", int(block[3:]))
    deep = number > shallow_in if side == "IN" else number <= deep_out
    chosen = {
        "IN": {"INALL": True, "INS": not deep, "IND": deep, "MIDD": deep},
        "OUT": {"OUTALL": True, "OUTS": not deep, "OUTD": deep, "MIDD": deep},
    }
    return chosen[side].get(preset, False)
