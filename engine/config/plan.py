"""From settings and pictures to numbers: what will happen, as plain arithmetic.

The length of a run is kept as sample views (how many times any picture is shown), so that the batch size does not change
it. `plan` is what the page shows before the start and what the trainer carries out, computed once, in one place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from engine.config.train import Kind, TrainConfig

Source = Literal["you", "data", "model"]

VIEWS: dict[Kind, int] = {"character": 1800, "outfit": 1800, "pose": 1500, "object": 1500, "concept": 1500, "style": 3000}
"""Sample views of a run by what is learnt, before the clamp per picture."""
VIEWS_PER_PICTURE = (60, 250)
"""Few pictures are shown less often in total, so that they are not burnt in; many are each seen often enough."""


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        pictures: different pictures that are learnt, without regularisation; `views_per_epoch` counts them with their repeats.
        steps_per_epoch: optimizer steps in one round through the pictures.
        views: how often pictures are shown altogether, rounded.
        resolution: side of the training square, px.
        save_steps: steps after which a version is saved, ascending, the last included.
        sample_steps: steps after which samples are made, ascending; 0 is before the first step.
        length_from: who decided the length.
    """

    pictures: int
    views_per_epoch: int
    steps_per_epoch: int
    steps: int
    epochs: float
    views: int
    resolution: int
    save_steps: tuple[int, ...]
    sample_steps: tuple[int, ...]
    length_from: Source
    resolution_from: Source


def sample_views(pictures: int, kind: Kind) -> int:
    """How often pictures should be shown altogether."""
    low, high = VIEWS_PER_PICTURE
    return min(max(VIEWS[kind], low * pictures), high * pictures)


def spread(count: int, steps: int) -> tuple[int, ...]:
    """`count` step numbers spread evenly up to and including `steps`."""
    return tuple(sorted({max(1, round(steps * (i + 1) / count)) for i in range(count)})) if count else ()


def plan(config: TrainConfig, pictures: int, views_per_epoch: int, batches_per_epoch: int, model_resolution: int) -> Plan:
    """The arithmetic of a run.

    Args:
        pictures: number of different pictures that are learnt.
        views_per_epoch: pictures with their repeats.
        batches_per_epoch: batches of one epoch; more than views / batch size where buckets end in partial batches.
        model_resolution: the base model's own resolution, px.
    """
    training = config.training
    steps_per_epoch = max(1, math.ceil(batches_per_epoch / training.gradient_accumulation))
    source: Source = "you"
    if training.max_steps is not None:
        steps = training.max_steps
    elif training.epochs is not None:
        steps = training.epochs * steps_per_epoch
    else:
        # An epoch, not the batch size, tells what a step shows: where buckets end in partial batches it is less.
        steps = math.ceil(sample_views(pictures, config.dataset.kind) * steps_per_epoch / views_per_epoch)
        source = "data"
    resolution = config.dataset.resolution
    samples = spread(config.samples.count, steps)
    return Plan(
        pictures=pictures,
        views_per_epoch=views_per_epoch,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        epochs=steps / steps_per_epoch,
        views=round(steps * views_per_epoch / steps_per_epoch),
        resolution=resolution or model_resolution,
        save_steps=spread(config.output.save_count, steps),
        sample_steps=(0, *samples) if samples else (),
        length_from=source,
        resolution_from="you" if resolution else "model",
    )
