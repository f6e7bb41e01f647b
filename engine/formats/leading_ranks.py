"""The first ranks of a LoRA, as they stand in a file.

Valipour et al. 2022, "DyLoRA: Parameter-Efficient Tuning of Pretrained Models using Dynamic Search-Free Low Rank Adaptation":
trained with truncation at every rank, the first ranks work by themselves. The factor alpha / rank stays what it was, so alpha
becomes alpha * new / old; no number of the factors changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FACTORS = {"lora_down.weight", "lora_up.weight", "alpha"}
"""All tensors of a module of which the first ranks are a LoRA by themselves."""


def leading_ranks(parts: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The first `rank` rows of down and columns of up, with the same factor alpha / rank; all of them where there are no more."""
    import torch

    down, up = parts["lora_down.weight"], parts["lora_up.weight"]
    kept = min(rank, len(down))
    alpha = torch.tensor(float(parts["alpha"]) * kept / len(down), dtype=torch.float32)
    return {"lora_down.weight": down[:kept].clone(), "lora_up.weight": up[:, :kept].clone(), "alpha": alpha}
