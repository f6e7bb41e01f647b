"""Which picture trains in which bucket, what is cut off it, and how many batches that makes.

Pure arithmetic on sizes in px; the run (`engine.preflight`) and the preview share it. Knows nothing of files or pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from engine.datasets.buckets import Box, BucketFit, Size, assign, assign_no_upscale, bucket_list, crop_box
from engine.errors import DatasetError


@dataclass(frozen=True)
class BucketOptions:
    """How pictures are put into buckets; sides in px.

    Attributes:
        resolution: side of the square whose area the buckets have.
        step: bucket sides are multiples of it.
        minimum, maximum: shortest and longest side; 0 is half and twice the resolution.
        no_upscale: pictures are never enlarged; `minimum` and `maximum` then say nothing.
        enabled: off crops every picture to the square.
        batch_size: pictures that are learnt from together.
    """

    resolution: int
    step: int
    minimum: int = 0
    maximum: int = 0
    no_upscale: bool = False
    enabled: bool = True
    batch_size: int = 1


@dataclass(frozen=True)
class Placed:
    """A picture in its bucket.

    Attributes:
        resized: size before the cut; covers `bucket`.
        crop: what stays of the picture (left, top, right, bottom), in px of the upright picture itself.
    """

    bucket: Size
    resized: Size
    crop: Box


@dataclass(frozen=True)
class Bucket:
    """A bucket in use.

    Attributes:
        pictures: how many, each counted once.
        batches: of one epoch, with repeats; the last may be partial.
        small: it has fewer pictures than a batch, so a batch is partial or shows a picture twice.
    """

    size: Size
    pictures: int
    batches: int
    small: bool


@dataclass(frozen=True)
class BucketPlan:
    """All pictures in their buckets.

    Attributes:
        buckets: those in use, ascending by size.
        pictures: name -> where it went.
        refused: name -> why it fits no bucket (`bucket.picture_too_small`).
    """

    buckets: list[Bucket]
    pictures: dict[str, Placed]
    refused: dict[str, DatasetError] = field(default_factory=dict)

    @property
    def batches(self) -> int:
        """Batches of one epoch."""
        return sum(bucket.batches for bucket in self.buckets)


def fitting(options: BucketOptions) -> Callable[[Size], BucketFit]:
    """The rule by which a picture of a size enters its bucket; it raises `bucket.picture_too_small`.

    Raises:
        DatasetError: `bucket.step`, `bucket.below_minimum`, `bucket.above_maximum`.
    """
    square, step = (options.resolution, options.resolution), options.step
    if not options.enabled:
        return lambda size: assign(size, [square])
    if options.no_upscale:
        return lambda size: assign_no_upscale(size, square, step)
    minimum, maximum = options.minimum or max(step, options.resolution // 2), options.maximum or options.resolution * 2
    buckets = bucket_list(square, minimum, maximum, step)
    return lambda size: assign(size, buckets)


def plan_buckets(sizes: Mapping[str, Size], options: BucketOptions, repeats: Mapping[str, int]) -> BucketPlan:
    """Put every picture into its bucket.

    Args:
        sizes: name -> upright width and height of a picture that can be read.
        repeats: name -> showings per epoch; 1 where it says nothing.

    Raises:
        DatasetError: `bucket.step`, `bucket.below_minimum`, `bucket.above_maximum`.
    """
    fit = cache(fitting(options))
    placed: dict[str, Placed] = {}
    refused: dict[str, DatasetError] = {}
    for name, size in sizes.items():
        try:
            found = fit(size)
        except DatasetError as error:
            if error.code != "bucket.picture_too_small":
                raise
            refused[name] = error
        else:
            placed[name] = Placed(found.bucket, found.resized, crop_box(size, found.resized, found.bucket))
    names: dict[Size, list[str]] = {}
    for name, picture in placed.items():
        names.setdefault(picture.bucket, []).append(name)
    buckets = [_bucket(size, [repeats.get(name, 1) for name in inside], options) for size, inside in sorted(names.items())]
    return BucketPlan(buckets, placed, refused)


def _bucket(size: Size, repeats: list[int], options: BucketOptions) -> Bucket:
    batches = math.ceil(sum(repeats) / options.batch_size)
    return Bucket(size, len(repeats), batches, small=len(repeats) < options.batch_size)
