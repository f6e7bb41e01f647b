"""Optimizers by the `kind` of their options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from engine.config.train import AdamW


def adamw(groups: list[dict[str, Any]], options: AdamW) -> torch.optim.Optimizer:
    """Loshchilov & Hutter 2019, algorithm 2."""
    return torch.optim.AdamW(groups, weight_decay=options.weight_decay, fused=True)  # hundreds of small tensors in one call


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], Any], torch.optim.Optimizer]] = {"adamw": adamw}
"""Each takes parameter groups with their `lr` and its options."""
