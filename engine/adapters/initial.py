"""What the two factors of a LoRA begin as.

* kaiming: down at random, up zero, as in Hu et al. 2021, section 4.1, and every LoRA trainer.
* orthogonal: neither is zero, yet up @ down is, because their ranks span orthogonal spaces ("Rethinking LoRA initialisation";
  PEFT's `orthogonal`). Exact up to rounding. Any even rank.
* pissa: Meng et al. 2024, "PiSSA: Principal Singular Values and Singular Vectors Adaptation", equations 2 and 3: with
  W = U S V, up is U sqrt(S) and down sqrt(S) V of the largest `rank` singular values.
* olora: Büyükakyüz 2024, "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models": with W = Q R, up is the first columns of Q and
  down the first rows of R.

The last two begin as a part of the weight. The paper and PEFT take that part out of the base; here the base stays as it is
and `engine.adapters.shifted` leaves it out of the change, which comes to the same. Convolutions count as (out, in * k * k).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.adapters.base import LayerShape
from engine.adapters.layers import Base
from engine.adapters.thin import random_down
from engine.config.sizes import check_rank, thin_sizes

Initial = Callable[[LayerShape, Base, int, float, torch.Generator], tuple[Tensor, Tensor]]
"""(layer, its tensors, rank, scale of the product, generator) -> down and up, on the CPU, float32."""


def kaiming(shape: LayerShape, base: Base, rank: int, scale: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return random_down(shape, rank, generator), torch.zeros(thin_sizes(shape, rank)[1])


def orthogonal(shape: LayerShape, base: Base, rank: int, scale: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    rows = torch.linalg.qr(torch.randn(rank, rank, generator=generator))[0]
    spread = (
        torch.randn(size, rank // 2, generator=generator) / 10 for size in (torch.Size(shape.weight[1:]).numel(), shape.outputs)
    )
    down, up = (mix @ half for mix, half in zip(spread, (rows[0::2], rows[1::2]), strict=True))
    return fitting(shape, down.T, up)


def pissa(shape: LayerShape, base: Base, rank: int, scale: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The singular vectors by subspace iteration (Halko et al. 2011), which is as good here as the whole decomposition, since
    the change begins at zero whatever they are, and for a layer of 1280 channels 25 times faster.
    """
    matrix = as_matrix(base, rank)
    with torch.random.fork_rng(devices=[]):  # it draws from torch's own stream
        torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        left, values, right = torch.svd_lowrank(matrix, min(rank + 16, *matrix.shape), niter=4)
    root = (values[:rank] / scale).sqrt()
    return fitting(shape, (right[:, :rank] * root).T, left[:, :rank] * root)


def olora(shape: LayerShape, base: Base, rank: int, scale: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The first columns of Q depend on those of the weight only, and R is Q^T W."""
    matrix = as_matrix(base, rank)
    up = torch.linalg.qr(matrix[:, :rank])[0]
    return fitting(shape, up.T @ matrix, up)


INITIAL: dict[str, Initial] = {"kaiming": kaiming, "orthogonal": orthogonal, "pissa": pissa, "olora": olora}
"""`initial` of the options -> what it means."""


def as_matrix(base: Base, rank: int) -> Tensor:
    """The weight as (out, in * k * k), float32 on the CPU, so that what is drawn from it does not depend on the device.

    Raises:
        ValueError: it has no such rank.
    """
    matrix = base["weight"].detach().flatten(1).float().cpu()
    check_rank(rank, *matrix.shape)
    return matrix


def fitting(shape: LayerShape, down: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Factors (rank, in * k * k) and (out, rank) in the sizes that the layer's have."""
    sizes = thin_sizes(shape, len(down))
    return down.reshape(sizes[0]).contiguous(), up.reshape(sizes[1]).contiguous()
