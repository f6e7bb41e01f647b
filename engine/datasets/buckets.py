"""Aspect-ratio buckets by Kohya's rule: train each picture near its own shape at about the same area.

Pure arithmetic on sizes (width, height) in px. Knows nothing of files, pictures or tensors. With buckets off, pass the
training resolution as the only bucket: `assign(size, [resolution])`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import DatasetError

Size = tuple[int, int]
"""Width and height, px."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, px."""


@dataclass(frozen=True)
class BucketFit:
    """How a picture enters its bucket.

    Attributes:
        bucket: size of the picture in training.
        resized: size after resizing, before the centre crop to `bucket`; covers it.
        aspect_error: bucket width/height minus picture width/height.
    """

    bucket: Size
    resized: Size
    aspect_error: float


def bucket_list(resolution: Size, minimum: int, maximum: int, step: int) -> list[Size]:
    """Every bucket of at most the area of `resolution`, ascending by (width, height).

    Where `step` does not divide them, `minimum` is rounded down and `maximum` up, as Kohya does.

    Raises:
        DatasetError: `bucket.step`, `bucket.below_minimum`, `bucket.above_maximum`.
    """
    _check_step(step, min(resolution))
    low, high = minimum - minimum % step, maximum + -maximum % step
    if low < step:
        raise DatasetError(
            "bucket.step", f"The smallest bucket side {minimum} px is less than the bucket step {step} px.",
            "The smallest side is at least one step.", "Raise the smallest side or lower the step.", minimum=minimum, step=step,
        )  # fmt: skip
    if min(resolution) < low:
        raise DatasetError(
            "bucket.below_minimum", f"The resolution {_text(resolution)} has a side below the smallest bucket side {low} px.",
            "Both sides lie between the smallest and the largest bucket side.",
            "Raise the resolution or lower the smallest side.", resolution=_text(resolution), minimum=low,
        )  # fmt: skip
    if max(resolution) > high:
        raise DatasetError(
            "bucket.above_maximum", f"The resolution {_text(resolution)} has a side above the largest bucket side {high} px.",
            "Both sides lie between the smallest and the largest bucket side.", "Lower the resolution or raise the largest side.",
            resolution=_text(resolution), maximum=high,
        )  # fmt: skip
    area = resolution[0] * resolution[1]
    side = math.isqrt(area) // step * step
    sizes = {(side, side)}
    for width in range(low, high + 1, step):
        height = min(high, area // width // step * step)
        if height >= low:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def assign(size: Size, buckets: Sequence[Size]) -> BucketFit:
    """The bucket of a picture: the exact size, else the nearest aspect ratio (the first of equals in `buckets`).

    Args:
        buckets: ascending, from `bucket_list`; not empty.
    """
    width, height = size
    aspect = width / height
    bucket = size if size in buckets else min(buckets, key=lambda bucket: abs(bucket[0] / bucket[1] - aspect))
    fit_height = aspect > bucket[0] / bucket[1]
    scale = bucket[1] / height if fit_height else bucket[0] / width
    resized = (int(width * scale + 0.5), int(height * scale + 0.5))
    return BucketFit(bucket, resized, bucket[0] / bucket[1] - aspect)


def assign_no_upscale(size: Size, resolution: Size, step: int) -> BucketFit:
    """The bucket of a picture that is never enlarged: its own size, shrunk to the area of `resolution` and cut to steps.

    Raises:
        DatasetError: `bucket.step`; `bucket.picture_too_small` when less than one step would be left of a side.
    """
    _check_step(step, min(resolution))
    width, height = size
    aspect = width / height
    area = resolution[0] * resolution[1]
    resized = size if width * height <= area else _shrink(aspect, area, step)
    bucket = _floor(resized[0], step), _floor(resized[1], step)
    if min(bucket) == 0:
        raise DatasetError(
            "bucket.picture_too_small", f"A picture of {_text(size)} would be {_text(resized)} in training.",
            f"Each side is at least one bucket step, {step} px.", "Use a larger or less narrow picture, or allow enlarging.",
            size=_text(size), resized=_text(resized), step=step,
        )  # fmt: skip
    return BucketFit(bucket, resized, bucket[0] / bucket[1] - aspect)


def crop_box(size: Size, resized: Size, bucket: Size) -> Box:
    """What the centre crop leaves of a picture of this size, in px of the picture before it is resized."""
    left, top = ((resized[axis] - bucket[axis]) // 2 for axis in (0, 1))
    x, y = size[0] / resized[0], size[1] / resized[1]
    return left * x, top * y, min((left + bucket[0]) * x, size[0]), min((top + bucket[1]) * y, size[1])


def _shrink(aspect: float, area: int, step: int) -> Size:
    """The size near `area` with one side on a step; of the two ways the one whose bucket keeps the aspect better."""
    ideal_width = math.sqrt(area * aspect)
    by_width = _floor(int(ideal_width + 0.5), step)
    by_height = _floor(int(area / ideal_width + 0.5), step)
    height_of_width = _floor(int(by_width / aspect + 0.5), step)
    width_of_height = _floor(int(by_height * aspect + 0.5), step)
    width_error = abs(by_width / height_of_width - aspect) if height_of_width else math.inf
    height_error = abs(width_of_height / by_height - aspect) if by_height else math.inf
    if width_error < height_error:
        return by_width, int(by_width / aspect + 0.5)
    return int(by_height * aspect + 0.5), by_height


def _floor(side: int, step: int) -> int:
    return side - side % step


def _check_step(step: int, shortest: int) -> None:
    if not 0 < step <= shortest:
        raise DatasetError(
            "bucket.step", f"The bucket step {step} px does not fit a resolution with a side of {shortest} px.",
            f"The step lies between 1 and {shortest} px.", "Lower the bucket step.", step=step, shortest=shortest,
        )  # fmt: skip


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]} px"
