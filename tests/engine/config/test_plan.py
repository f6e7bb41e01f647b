"""The arithmetic of a run."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.load import nested, validate
from engine.config.plan import VIEWS, VIEWS_PER_PICTURE, Plan, plan, sample_views, spread
from engine.config.train import Kind, TrainConfig

counts = st.integers(1, 300)


def planned(pictures: int, repeats: int = 1, batches: int | None = None, **settings: Any) -> Plan:
    """The plan for pictures of one shape, unless `batches` says otherwise."""
    config = validate(TrainConfig, nested({path.replace("__", "."): value for path, value in settings.items()}))
    views = pictures * repeats
    return plan(config, pictures, views, batches or math.ceil(views / config.training.batch_size), 512)


def civitai_steps(pictures: int, batch_size: int, epochs: int = 10) -> int:
    """What Civitai's trainer proposes: repeats = clamp(ceil(200 / images), 1, 5000), steps = ceil(images * repeats * epochs / batch)."""
    repeats = min(max(math.ceil(200 / pictures), 1), 5000)
    return math.ceil(pictures * repeats * epochs / batch_size)


@pytest.mark.parametrize(
    ("pictures", "civitai", "character", "style"),
    [
        # Few pictures are shown less than there; a style is shown longer; many pictures are each seen often enough.
        (8, 2000, 1800, 2000),
        (15, 2100, 1800, 3000),
        (30, 2100, 1800, 3000),
        (80, 2400, 4800, 4800),
    ],
)
def test_length_beside_civitais_rule(pictures: int, civitai: int, character: int, style: int) -> None:
    assert civitai_steps(pictures, 1) == civitai
    assert planned(pictures, dataset__kind="character").steps == character
    assert planned(pictures, dataset__kind="style").steps == style
    assert planned(pictures, dataset__kind="character", training__batch_size=4).steps == pytest.approx(character / 4, rel=0.07)


@given(counts, st.sampled_from(get_args(Kind)))
def test_no_picture_is_shown_too_often_or_too_seldom(pictures: int, kind: Kind) -> None:
    low, high = VIEWS_PER_PICTURE
    views = sample_views(pictures, kind)
    assert low * pictures <= views <= high * pictures
    assert views == VIEWS[kind] or views in (low * pictures, high * pictures)


@given(counts, st.integers(1, 20), st.integers(1, 64), st.integers(1, 8))
def test_the_number_of_views_does_not_depend_on_the_batch_size(
    pictures: int, repeats: int, batch_size: int, accumulation: int
) -> None:
    made = planned(pictures, repeats, training__batch_size=batch_size, training__gradient_accumulation=accumulation)
    wanted = sample_views(pictures, "character")
    per_step = batch_size * accumulation
    assert wanted <= made.views + 0.5 and made.views <= wanted + per_step
    assert made.length_from == "data"


@given(st.integers(2, 60), st.integers(2, 16), st.data())
def test_partial_batches_do_not_shorten_the_run(pictures: int, batch_size: int, data: st.DataObject) -> None:
    batches = data.draw(st.integers(math.ceil(pictures / batch_size), pictures))
    made = planned(pictures, batches=batches, training__batch_size=batch_size)
    assert made.steps_per_epoch == batches
    assert abs(made.epochs * pictures - sample_views(pictures, "character")) <= batch_size
    assert made.views == round(made.epochs * pictures)


@given(counts, st.integers(1, 3000), st.integers(1, 40), st.integers(0, 40))
def test_versions_and_samples_are_spread_and_end_at_the_last_step(pictures: int, steps: int, saves: int, samples: int) -> None:
    made = planned(pictures, training__max_steps=steps, output__save_count=saves, samples__count=samples)
    assert made.steps == steps and made.length_from == "you"
    for due in (made.save_steps, made.sample_steps[1:]):
        assert list(due) == sorted(set(due)) and all(1 <= step <= steps for step in due)
    assert made.save_steps[-1] == steps and len(made.save_steps) == min(saves, steps)
    if samples:
        assert made.sample_steps[0] == 0 and made.sample_steps[-1] == steps
    else:
        assert made.sample_steps == ()


@given(st.integers(1, 100), st.integers(1, 5000))
def test_gaps_between_versions_differ_by_one_step_at_most(count: int, steps: int) -> None:
    due = (0, *spread(count, steps))
    gaps = {after - before for before, after in itertools.pairwise(due)}
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(("accumulation", "steps"), [(1, 30), (2, 15), (4, 9)])
def test_epochs_count_rounds_through_the_pictures(accumulation: int, steps: int) -> None:
    made = planned(10, training__epochs=3, training__gradient_accumulation=accumulation)
    assert (made.steps, made.epochs, made.length_from) == (steps, 3, "you")


def test_resolution_is_the_models_unless_given() -> None:
    assert (planned(5).resolution, planned(5).resolution_from) == (512, "model")
    own = planned(5, dataset__resolution=640)
    assert (own.resolution, own.resolution_from) == (640, "you")
