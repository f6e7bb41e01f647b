"""Findings about sizes: pictures too small or too long for the training resolution, and how they fall into buckets."""

from __future__ import annotations

from engine.datasets.bucket_plan import BucketPlan
from engine.datasets.doctor.case import Case
from engine.datasets.doctor.finding import Finding, finding

LEAST_ENLARGEMENT = 1.25
"""A picture that must be enlarged by more looks soft in training."""
EXTREME_ASPECT = 3.0
"""The longer side over the shorter. At the usual settings the longest bucket is 4 to 1, and only half as high as the square."""
FAMILY_RESOLUTION = {
    "sd1": (512, 768),
    "sd2": (512, 768),
    "sdxl": (768, 1024),
    "sd3": (768, 1024),
    "flux": (768, 1024),
    "z_image": (768, 1024),
}
"""Family -> sides of the square that creators' guides train it on, px: 512 or more for the first models, 768 to 1024 from SDXL on."""


def too_small(case: Case) -> list[Finding]:
    """Pictures that training enlarges."""
    found = []
    for name, picture in case.readable.items():
        if case.buckets is None or case.no_upscale or name not in case.buckets.pictures:
            continue
        placed = case.buckets.pictures[name]
        factor = max(placed.resized[0] / picture.width, placed.resized[1] / picture.height)
        if factor >= LEAST_ENLARGEMENT:
            size, bucket = f"{picture.width}x{picture.height}", f"{placed.bucket[0]}x{placed.bucket[1]}"
            text = f"It is only {size} px, and is enlarged {factor:.1f} times for training at {bucket} px. The softness is learnt too. Find a larger version."
            found.append(finding("picture.too_small", name, text, size=size, bucket=bucket, factor=f"{factor:.1f}"))
    return found


def extreme_aspect(case: Case) -> list[Finding]:
    """Very long or tall pictures."""
    found = []
    for name, picture in case.readable.items():
        aspect = max(picture.size) / min(picture.size)
        if aspect > EXTREME_ASPECT:
            size = f"{picture.width}x{picture.height}"
            cut = _cut_off(case.buckets, name)
            text = f"It is {aspect:.1f} times as long as it is wide ({size} px); {cut} % of it is cut off in training. Cut out the part that matters."
            found.append(finding("picture.extreme_aspect", name, text, size=size, aspect=f"{aspect:.1f}", cut=cut))
    return found


def _cut_off(plan: BucketPlan | None, name: str) -> int:
    """Percent of a picture that its bucket does not show."""
    if plan is None or name not in plan.pictures:
        return 0
    placed = plan.pictures[name]
    return round(100 * (1 - placed.bucket[0] * placed.bucket[1] / (placed.resized[0] * placed.resized[1])))


def refused(case: Case) -> list[Finding]:
    """Pictures that fit no bucket when none may be enlarged."""
    problems = case.buckets.refused if case.buckets else {}
    return [finding(error.code, name, str(error), **error.values) for name, error in problems.items()]


def small_buckets(case: Case) -> list[Finding]:
    """Buckets that cannot fill one batch."""
    found = []
    for bucket in case.buckets.buckets if case.buckets else ():
        if bucket.small:
            size = f"{bucket.size[0]}x{bucket.size[1]}"
            inside = tuple(
                name for name, placed in (case.buckets.pictures if case.buckets else {}).items() if placed.bucket == bucket.size
            )
            text = f"The bucket of {size} px holds {bucket.pictures} pictures, fewer than a batch of {case.batch_size}: its steps learn from fewer pictures, or from one twice."
            found.append(
                finding(
                    "bucket.small", inside[0], text, inside[1:], bucket=size, pictures=bucket.pictures, batch_size=case.batch_size
                )
            )
    return found


def resolution(case: Case) -> list[Finding]:
    """A training resolution that the model was not made for. The starter is practice at any."""
    low, high = FAMILY_RESOLUTION.get(case.model.family, (0, 0))
    if not low or case.model.practice or low <= case.resolution <= max(high, case.model.resolution):
        return []
    values = {"resolution": case.resolution, "low": low, "high": high, "model": case.model.name}
    if case.resolution < low:
        text = f"Training at {case.resolution} px is less than {case.model.name} is good at; {low} to {high} px are usual."
        return [finding("dataset.low_resolution", "", text, **values)]
    text = f"Training at {case.resolution} px is more than {case.model.name} was made for; {low} to {high} px are usual, and take less memory."
    return [finding("dataset.high_resolution", "", text, **values)]
