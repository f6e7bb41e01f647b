"""Singular values of changes of weights, and how many of them a layer keeps.

A change is a matrix (out, in * kernel), as it stands or as the product up @ down of thin factors. Of a thin product only the
small core is decomposed: up = Q_u R_u and down^T = Q_d R_d by QR, then the SVD of R_u R_d^T, (rank, rank). Eckart and Young
1936: the leading singular vectors are the nearest matrix of their rank in the Frobenius norm, and the rest is the error.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """left (out, k) diag(values) right (k, in) with orthonormal left and right; values (k,) descending."""

    left: Tensor
    values: Tensor
    right: Tensor

    def cut(self, rank: int) -> tuple[Tensor, Tensor]:
        """down (rank, in) and up (out, rank) of the leading ranks, the root of each value in both."""
        root = self.values[:rank].sqrt()
        return root[:, None] * self.right[:rank], self.left[:, :rank] * root


def spectrum(weight: Tensor) -> Spectrum:
    """Of a matrix (out, in), in float32."""
    left, values, right = torch.linalg.svd(weight.float(), full_matrices=False)
    return Spectrum(left, values, right)


def spectrum_of_product(down: Tensor, up: Tensor) -> Spectrum:
    """Of up (out, rank) @ down (rank, in), which is made only when it is no larger than the factors. Inside in float64."""
    if len(down) >= min(up.shape[0], down.shape[1]):
        return spectrum(up @ down)
    up_base, up_core = torch.linalg.qr(up.double())
    down_base, down_core = torch.linalg.qr(down.double().T)
    left, values, right = torch.linalg.svd(up_core @ down_core.T)
    return Spectrum((up_base @ left).float(), values.float(), (right @ down_base.T).float())


def norm_of_product(down: Tensor, up: Tensor) -> float:
    """Frobenius norm of up @ down: the root of the trace of (up^T up)(down down^T), in float64."""
    if len(down) >= min(up.shape[0], down.shape[1]):
        return float((up.double() @ down.double()).norm())
    up, down = up.double(), down.double()
    return float(((up.T @ up) * (down @ down.T)).sum().clamp_min(0).sqrt())


# ---- how many ranks: numbers of singular values, at least 1 ----


def above_ratio(values: Tensor, ratio: float) -> int:
    """Values above `ratio` times the largest. LyCORIS' extraction; its inverse is `sv_ratio` of Kohya's resizing."""
    return _at_least_one(values > values[0] * ratio)


def above_threshold(values: Tensor, threshold: float) -> int:
    """Values above a number (LyCORIS' extraction)."""
    return _at_least_one(values > threshold)


def share_of_sum(values: Tensor, share: float) -> int:
    """The fewest leading values with this share of their sum: Kohya's `sv_cumulative`; LyCORIS' `quantile` takes one less."""
    return _fewest(values, share)


def share_of_norm(values: Tensor, share: float) -> int:
    """The fewest leading values with this share of the Frobenius norm (Kohya's `sv_fro`)."""
    return _fewest(values**2, share**2)


def _at_least_one(chosen: Tensor) -> int:
    return max(1, int(chosen.sum()))


def _fewest(parts: Tensor, share: float) -> int:
    running = parts.double().cumsum(0)
    needed = torch.tensor([share], dtype=torch.float64) * running[-1]
    return min(int(torch.searchsorted(running, needed)) + 1, len(parts))
