"""Which pictures go through the model together: the order of an epoch as a pure function of seed and epoch.

Knows indices, buckets and repeats only. Holds no state, so a resumed run asks for the epoch again and skips what it has
done; the global random state is neither read nor moved.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BucketedItem:
    """A picture as the sampler sees it: `index` in the caller's list, `bucket` size in px, showings per epoch."""

    index: int
    bucket: tuple[int, int]
    repeats: int = 1


def epoch_batches(items: Sequence[BucketedItem], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch, as lists of indices; each picture appears exactly `repeats` times.

    A batch never mixes buckets. The last batch of a bucket may be smaller: it is kept, as Kohya keeps it.

    Args:
        epoch: any integer; the order depends on `seed + epoch`.
    """
    rng = random.Random(seed + epoch)
    batches = []
    for _, indices in sorted(_by_bucket(items).items()):
        rng.shuffle(indices)
        batches += [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    rng.shuffle(batches)
    return batches


def batches_per_epoch(items: Sequence[BucketedItem], batch_size: int) -> int:
    """How many batches `epoch_batches` makes."""
    return sum(math.ceil(len(indices) / batch_size) for indices in _by_bucket(items).values())


def steps_per_epoch(items: Sequence[BucketedItem], batch_size: int, gradient_accumulation: int = 1) -> int:
    """Optimizer steps of one epoch; batches left over at its end make a step of their own."""
    return math.ceil(batches_per_epoch(items, batch_size) / gradient_accumulation)


def _by_bucket(items: Sequence[BucketedItem]) -> dict[tuple[int, int], list[int]]:
    buckets: dict[tuple[int, int], list[int]] = {}
    for item in items:
        buckets.setdefault(item.bucket, []).extend([item.index] * item.repeats)
    return buckets
