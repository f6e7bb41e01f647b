"""Tucker decomposition of a convolution: a small core between two 1x1 convolutions.

Kim et al. 2016, "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications"
(Tucker-2): W[o, i, y, x] = sum over r, s of core[r, s, y, x] left[r, o] right[s, i]. LyCORIS writes LoRA (`lora_mid`), LoHa
(`hada_t1`, `hada_t2`) and LoKr (`lokr_t2`) so; users know it as CP decomposition.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from engine.adapters.base import LayerShape


def tucker(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """core (r, s, k, k), left (r, out), right (s, in) -> (out, in, k, k)."""
    return torch.einsum("ri...,ro->oi...", core_on(core, right), left)


def core_on(core: Tensor, right: Tensor) -> Tensor:
    """The core after the first 1x1 convolution: core (r, s, k, k), right (s, in) -> (r, in, k, k)."""
    return torch.einsum("rs...,si->ri...", core, right)


def point(shape: LayerShape) -> LayerShape:
    """The layer as if it were a 1x1 convolution."""
    return replace(shape, kernel=tuple(1 for _ in shape.kernel))
