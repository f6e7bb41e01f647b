"""T-LoRA: LoRA with less rank where there is more noise, against learning the background of a few pictures by heart.

Soboleva et al. 2025, "T-LoRA: Single Image Diffusion Model Customization Without Overfitting" (arXiv 2507.05964). At time t, from
0 (clean) to 1 (noise), the first r(t) = floor((1 - t)^p (r - r_min)) + r_min ranks work, for each picture of a batch by itself;
the paper has p = 1. So that no rank says what another does, the factors begin as the last singular triplets of a random matrix
(Ortho-LoRA): dW = s (P diag(v) Q - P0 diag(v0) Q0).

In evaluation all ranks work whatever the time, and the file is a plain LoRA of twice the rank, which every program can read.
LyCORIS' T-LoRA has keys of its own that no other program reads, and no convolutions larger than 1x1.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.initial import fitting
from engine.adapters.layers import Base
from engine.adapters.shifted import Shifted
from engine.adapters.thin import thin_common
from engine.config.adapter import TloraOptions
from engine.config.sizes import check_rank, thin_rank


class Tlora(Shifted):
    """Q is `lora_down`, P `lora_up`; `values` is v, (rank,).

    Attributes:
        times: how noisy each picture of the coming batch is, (B,); None before there was one.
    """

    def __init__(
        self, down: Tensor, up: Tensor, values: Tensor, scale: float, min_rank: int = 1, power: float = 1.0, **common: float
    ) -> None:
        super().__init__(down, up, scale, **common)
        self.values = nn.Parameter(values)
        self.first_up = self._stretched(self.first_up, values)
        self.min_rank, self.power = min_rank, power
        self.times: Tensor | None = None

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: TloraOptions, generator: torch.Generator) -> Self:  # type: ignore[override]
        rank, scale = thin_rank(shape, options)
        up, values, down = last_triplets(shape.outputs, torch.Size(shape.weight[1:]).numel(), rank, generator)
        factors = fitting(shape, down, up)
        return cls(*factors, values, scale, options.min_rank, options.power, **thin_common(options))

    def product(self) -> tuple[Tensor, Tensor]:
        down, up = super().product()
        return down, self._stretched(up, self.values)

    @staticmethod
    def _stretched(up: Tensor, values: Tensor) -> Tensor:
        return up * values.view(-1, *(1 for _ in up.shape[2:]))

    def begin_batch(self, times: Tensor) -> None:
        self.times = times

    def mask(self, rank: int, x: Tensor) -> Tensor | None:
        kept = super().mask(rank, x)
        if not self.training or self.times is None:
            return kept
        working = ranks_at(self.times.to(x.device), rank // 2, self.min_rank, self.power).repeat(1, 2).to(x.dtype)
        return working if kept is None else working * kept.to(working)


def ranks_at(times: Tensor, rank: int, min_rank: int, power: float) -> Tensor:
    """Which ranks work at each time: (B,) from 0 (clean) to 1 (noise) -> (B, rank) of 0 and 1."""
    count = ((1 - times) ** power * (rank - min_rank)).floor() + min_rank
    return (torch.arange(rank, device=times.device) < count[:, None]).float()


def last_triplets(rows: int, columns: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` smallest singular values, largest first, of a random matrix, with their vectors; without making the matrix.

    The singular vectors of a Gaussian matrix are uniformly distributed and independent of the values, so that those of thin
    random matrices are as good. The values are distributed as those of a bidiagonal matrix of chi variables (Dumitriu and
    Edelman 2002, "Matrix models for beta ensembles", section III), whose few smallest are found in no time.

    Returns:
        P (rows, count), values (count,), Q (count, columns) of a matrix with standard deviation 1 / count.

    Raises:
        ValueError: the matrix has fewer.
    """
    from scipy.linalg import eigh_tridiagonal  # half a second that only such runs need

    check_rank(count, rows, columns)
    left, right = (torch.linalg.qr(torch.randn(size, count, generator=generator))[0] for size in (rows, columns))
    small, large = sorted((rows, columns))
    random = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    diagonal = np.sqrt(random.chisquare(large - np.arange(small)))
    beside = np.sqrt(random.chisquare(small - 1 - np.arange(small - 1)))
    # A bidiagonal matrix is symmetric and tridiagonal when put beside its transpose; each singular value comes with both signs.
    entries = np.stack([diagonal, np.append(beside, 0)], 1).ravel()[:-1]
    values = eigh_tridiagonal(
        np.zeros(2 * small), entries, eigvals_only=True, select="i", select_range=(small, small + count - 1)
    )
    return left, torch.from_numpy(values[::-1].copy()).float() / count, right.T
