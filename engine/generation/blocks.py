"""Block weights of an adapter tag (`lbw=`): which blocks a list of numbers or a preset's name stands for.

Blocks are named as in the original checkpoints: BASE is the text encoder, IN, MID and OUT the U-Net's halves and middle. Which
layer lies in which block is `engine.generation.block_places`' affair.
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
LISTS: dict[str, tuple[int, ...]] = {"sd1": (17, 26), "sd2": (17, 26), "sdxl": (12, 20), "flux": (61,)}
"""Family of base models -> the lists it understands, that of all blocks last."""
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


def family_weights(value: str | tuple[float, ...], family: str) -> dict[str, float]:
    """Strength factor by block name, for a base model; "" stands for what lies in none of the blocks.

    A list says nothing of blocks that it does not have: they keep their strength. A preset says something of all.

    Args:
        value: what `parse_blocks` gave.

    Raises:
        ValueError: the list is another family's, or the family has no such blocks.
    """
    lengths = LISTS.get(family, ())
    if not isinstance(value, str):
        if len(value) not in lengths:
            raise ValueError(f"a list of {len(value)} numbers")
        return block_weights(value, len(value))
    if value not in presets_of(family):
        raise ValueError(f"the preset {value}")
    return {"": float(value != "NONE"), **block_weights(value, lengths[-1])}


def presets_of(family: str) -> tuple[str, ...]:
    """The presets that mean something for a family: most are made of a U-Net's two halves."""
    if family not in LISTS:
        return ()
    return PRESETS if LISTS[family][-1] in DEPTHS else ("NONE", "ALL")


def block_weights(value: str | tuple[float, ...], length: int) -> dict[str, float]:
    """Strength factor by block name.

    Args:
        value: what `parse_blocks` gave.
        length: a key of BLOCKS; it matters for presets only.
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
