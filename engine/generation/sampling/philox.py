"""Unit noise as NVIDIA cards draw it, on any device: Philox4x32-10 (Salmon et al. 2011) and the Box-Muller transform."""

from __future__ import annotations

from math import pi, prod

import numpy as np
import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = 0x9E3779B9, 0xBB67AE85
WORD = 0xFFFFFFFF


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Random words of counters: (4, n) -> (4, n), 32 bits each, as uint64."""
    low, high = np.uint64(WORD), np.uint64(32)
    first, second, third, fourth = counter.astype(np.uint64)
    for turn in range(ROUNDS):
        keys = [np.uint64((word + turn * step) & WORD) for word, step in zip(key, WEYL, strict=True)]
        one, two = first * MULTIPLIERS[0], third * MULTIPLIERS[1]
        first, second, third, fourth = (two >> high) ^ second ^ keys[0], two & low, (one >> high) ^ fourth ^ keys[1], one & low
    return np.stack([first, second, third, fourth])


class PhiloxGenerator:
    """What `torch.randn` draws with a generator on a CUDA device.

    Number i of the draw with offset n comes from the counter (n, 0, i, 0) and the 64 bits of the seed as the key.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.offset = seed, 0

    def randn(self, shape: tuple[int, ...]) -> Tensor:
        """The next draw: unit noise of `shape`, float32."""
        count = prod(shape)
        counter = np.zeros((4, count), dtype=np.uint64)
        counter[0], counter[2] = self.offset, np.arange(count)
        self.offset += 1
        first, second = philox(counter, (self.seed & WORD, self.seed >> 32 & WORD))[:2].astype(np.float64)
        radius = np.sqrt(-2 * np.log((first + 0.5) / 2**32))
        return torch.from_numpy((radius * np.sin((second + 0.5) / 2**32 * 2 * pi)).astype(np.float32).reshape(shape))
