"""Every algorithm in the variants that the laws are checked on."""

from __future__ import annotations

from engine.config.adapter import LayerOptions, LoraOptions

CASES: dict[str, LayerOptions] = {
    "lora": LoraOptions(rank=3, alpha=2, conv_rank=2, conv_alpha=5),
    "rslora": LoraOptions(rank=3, alpha=2, scaling="root"),
    "lora-fa": LoraOptions(rank=3, alpha=2, freeze_down=True),
    "dora": LoraOptions(rank=3, alpha=2, decompose="outputs"),
    "dora inputs": LoraOptions(rank=3, alpha=2, decompose="inputs"),
}
"""Name of the variant -> its options."""

EXPORTED: set[str] = set()
"""Variants whose file is another algorithm's form of the same change, equal to 1e-5 instead of to the bit."""

ROUNDED: set[str] = set()
"""Variants that begin as the base to 1e-5 only, because they begin from a decomposition of its weight."""
