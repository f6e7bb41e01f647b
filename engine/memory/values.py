"""Tensors, layers and blocks without their numbers: what a `Sketch` is made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Formats:
    """Bytes of a number.

    Attributes:
        compute: in products, and wherever nothing else is said.
        norms: in normalisation: autocast on CUDA makes it in float32, of a copy of what it is given.
    """

    compute: int = 2
    norms: int = 4


CUDA, HALF, FULL = Formats(2, 4), Formats(2, 2), Formats(4, 4)
"""Training in half precision on CUDA, half precision everywhere, full precision."""


@dataclass
class Meter:
    """Bytes that there are now, and the most that there were at once."""

    live: int = 0
    peak: int = 0


class Memory:
    """Some bytes that one or more values lie in."""

    def __init__(self, meter: Meter, size: int) -> None:
        self.meter, self.size = meter, size
        meter.live += size
        meter.peak = max(meter.peak, meter.live)

    def __del__(self) -> None:
        self.meter.live -= self.size


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of `rows` positions (of all pictures together) with `channels` numbers each.

    Attributes:
        width: bytes of a number.
        learns: whether a gradient is wanted for it.
    """

    rows: int
    channels: int
    width: int
    learns: bool
    memory: Memory

    @property
    def size(self) -> int:
        """Bytes."""
        return self.rows * self.channels * self.width

    def part(self, rows: int = 0, channels: int = 0) -> Value:
        """Some of its rows or channels, or others of the same size, in the same memory."""
        return Value(rows or self.rows, channels or self.channels, self.width, self.learns, self.memory)


@dataclass
class Weight:
    """The numbers of one layer.

    Attributes:
        matrix: of its weight, where it is that of a Linear layer and could be quantised.
        others: of everything else.
    """

    matrix: int = 0
    others: int = 0


@dataclass
class Block:
    """A stretch of the network, the unit of gradient checkpointing and of streaming.

    Attributes:
        again: whether it is calculated again in the backward pass instead of kept (gradient checkpointing).
        forward, backward: FLOPs; the base weights' gradients are never formed.
        kept: memory that the backward pass needs -> the kind of operation that needs it first; of a block that is calculated
            again, what it is given.
        remade: the same by kind in bytes, of a block that is calculated again.
        held: bytes kept so far.
        peak: the most that its backward pass holds: at an operation, what it and those before it keep, and the gradients of
            what it gives and is given.
        learnt: numbers of its adapters, were they all products of thin factors.
    """

    name: str
    again: bool = False
    forward: int = 0
    backward: int = 0
    kept: dict[Memory, str] = field(default_factory=dict)
    remade: Counter[str] = field(default_factory=Counter)
    held: int = 0
    peak: int = 0
    learnt: int = 0
    weights: dict[str, Weight] = field(default_factory=dict)
