"""Optimizers by the `kind` of their options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from engine.config.train import AdamW, AdamW8bit
from engine.errors import EngineError


def adamw(groups: list[dict[str, Any]], options: AdamW) -> torch.optim.Optimizer:
    """Loshchilov & Hutter 2019, algorithm 2."""
    return torch.optim.AdamW(groups, weight_decay=options.weight_decay, fused=True)  # hundreds of small tensors in one call


def adamw8bit(groups: list[dict[str, Any]], options: AdamW8bit) -> torch.optim.Optimizer:
    """The same with both moments in 8 bits, quantised by blocks (Dettmers et al. 2022); tensors below 4096 numbers keep 32.

    Raises:
        EngineError: `training.no_bitsandbytes`.
    """
    try:
        from bitsandbytes.optim import AdamW8bit as Optimizer
    except ImportError as error:
        raise EngineError(
            "training.no_bitsandbytes", "The optimizer AdamW8bit needs bitsandbytes, which is not installed.", "The package bitsandbytes.",
            "Install it (pip install bitsandbytes), or take AdamW.", field="training.optimizer.kind",
        ) from error  # fmt: skip
    return Optimizer(groups, weight_decay=options.weight_decay)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], Any], torch.optim.Optimizer]] = {"adamw": adamw, "adamw8bit": adamw8bit}
"""Each takes parameter groups with their `lr` and its options."""
