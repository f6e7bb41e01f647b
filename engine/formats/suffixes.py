"""The tensor names inside one adapted module, by algorithm, and how a key splits into module and tensor.

These are the names Kohya's and LyCORIS' files use; other writers' spellings are turned into them. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

ALGORITHM_SUFFIXES: dict[str, tuple[str, ...]] = {
    "lora": ("lora_down.weight", "lora_up.weight", "lora_mid.weight"),
    "loha": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    "lokr": ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2"),
    "oft": ("oft_blocks", "oft_diag", "rescale"),
    "glora": ("a1.weight", "a2.weight", "b1.weight", "b2.weight", "bm.weight"),
    "full": ("diff", "diff_b"),
    "norm": ("w_norm", "b_norm"),
    "ia3": ("weight", "on_input"),
    "hira": ("hira_A", "hira_B"),
}
"""BOFT has the names of OFT; see `algorithm_of`."""

SHARED_SUFFIXES = ("alpha", "dora_scale")

ALIASES: dict[str, str] = {
    **{
        f"lora_{side}{tail}": f"lora_{name}.weight"
        for side, name in (("A", "down"), ("B", "up"))
        for tail in ("", ".weight", ".default.weight")
    },
    **{f"{form}.{side}.weight": f"lora_{side}.weight" for side in ("down", "up") for form in ("lora", "lora_linear_layer")},
    **{f"lora_magnitude_vector{tail}": "dora_scale" for tail in ("", ".weight", ".default.weight")},
}
"""Spellings of PEFT (`lora_A.weight`) and of diffusers (`lora.down.weight`) -> the name used here."""

_OLD_DIFFUSERS = {"_lora.down.weight": "lora_down.weight", "_lora.up.weight": "lora_up.weight"}
_XLABS = re.compile(r"(.+_lora[12])\.((down|up)\.weight)")
_KNOWN = {
    suffix: suffix for suffixes in (*ALGORITHM_SUFFIXES.values(), SHARED_SUFFIXES) for suffix in suffixes if suffix != "weight"
} | ALIASES


def split_key(key: str) -> tuple[str, str, str] | None:
    """(module name, suffix used here, suffix as written), or None when the key ends in no known suffix.

    The bare `weight` of (IA)³ is not recognised by itself, since every checkpoint is full of it; see `split_keys`.
    """
    parts = key.split(".")
    for length in (3, 2, 1):
        written = ".".join(parts[-length:])
        if len(parts) > length and written in _KNOWN:
            return ".".join(parts[:-length]), _KNOWN[written], written
    for written, suffix in _OLD_DIFFUSERS.items():
        if key.endswith(written):
            return key.removesuffix(written), suffix, written
    if named := _XLABS.fullmatch(key):
        return named[1], f"lora_{named[2]}", named[2]
    return None


def split_keys(keys: list[str]) -> tuple[dict[str, tuple[str, str, str]], list[str]]:
    """All keys of a file: key -> (module, suffix, suffix as written), and the keys that belong to no known algorithm."""
    split = {key: parts for key in keys if (parts := split_key(key))}
    activation_scaled = {module for module, suffix, _ in split.values() if suffix == "on_input"}
    for key in keys:
        module = key.removesuffix(".weight")
        if key not in split and module in activation_scaled:
            split[key] = (module, "weight", "weight")
    return split, [key for key in keys if key not in split]


def algorithm_of(shapes: Mapping[str, Sequence[int]]) -> str | None:
    """The algorithm whose tensors one module holds, from their suffixes and shapes, or None.

    BOFT differs from OFT only in that its `oft_blocks` have four dimensions, the first of them the stages of the butterfly.
    """
    if len(shapes.get("oft_blocks", ())) == 4:
        return "boft"
    return next((name for name, own in ALGORITHM_SUFFIXES.items() if not shapes.keys().isdisjoint(own)), None)
