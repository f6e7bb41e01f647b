"""The preview puts each picture where training does, and its frame is what training cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.datasets.bucket_plan import BucketOptions, fitting, plan_buckets
from engine.datasets.buckets import assign, assign_no_upscale, bucket_list
from engine.datasets.decode import fit
from engine.datasets.sampler import BucketedItem, epoch_batches
from engine.errors import DatasetError

KOHYAS = BucketOptions(512, 64, 256, 1024)
sizes = st.tuples(st.integers(16, 700), st.integers(16, 700))


def test_the_rule_is_kohyas() -> None:
    buckets = bucket_list((512, 512), 256, 1024, 64)
    for size in [(512, 512), (1024, 768), (1920, 1080), (600, 2000), (300, 300), (4000, 1000), (600, 400)]:
        assert fitting(KOHYAS)(size) == assign(size, buckets)
        assert fitting(BucketOptions(512, 64, no_upscale=True))(size) == assign_no_upscale(size, (512, 512), 64)
        assert fitting(BucketOptions(512, 64, enabled=False))(size) == assign(size, [(512, 512)])
        assert fitting(BucketOptions(512, 64))(size) == fitting(KOHYAS)(size)  # half and twice the resolution


def test_an_example() -> None:
    pictures = {"a": (1920, 1080), "b": (1919, 1080), "c": (512, 512), "d": (3, 2000), "e": (600, 600)}
    plan = plan_buckets(pictures, BucketOptions(512, 64, no_upscale=True, batch_size=2), {"a": 3, "c": 5})
    assert [(each.size, each.pictures, each.batches, each.small) for each in plan.buckets] == [
        ((512, 512), 2, 3, False), ((640, 384), 2, 2, False),
    ]  # fmt: skip
    assert plan.batches == 5 and list(plan.pictures) == ["a", "b", "c", "e"]
    assert {name: error.code for name, error in plan.refused.items()} == {"d": "bucket.picture_too_small"}
    wide = plan.pictures["a"]
    assert (wide.bucket, wide.resized) == ((640, 384), (683, 384))
    assert wide.crop == pytest.approx((21 * 1920 / 683, 0, 661 * 1920 / 683, 1080))
    assert plan.pictures["c"].crop == (0, 0, 512, 512)
    alone = plan_buckets({"a": (512, 512)}, BucketOptions(512, 64, batch_size=2), {"a": 10})
    assert [each.small for each in alone.buckets] == [True]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (BucketOptions(512, 64, 640, 1024), "bucket.below_minimum"), (BucketOptions(512, 64, 256, 448), "bucket.above_maximum"),
        (BucketOptions(512, 1024), "bucket.step"), (BucketOptions(512, 1024, no_upscale=True), "bucket.step"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused_as_a_whole(options: BucketOptions, code: str) -> None:
    with pytest.raises(DatasetError) as caught:
        plan_buckets({"a": (600, 400)}, options, {})
    assert caught.value.code == code


@given(st.lists(sizes, max_size=12), st.lists(st.integers(1, 5), min_size=12, max_size=12), st.integers(1, 5), st.booleans())
def test_batches_are_those_of_training(pictures, repeats, batch_size, no_upscale) -> None:
    named = {str(number): size for number, size in enumerate(pictures)}
    shown = {str(number): times for number, times in enumerate(repeats)}
    plan = plan_buckets(named, BucketOptions(128, 16, batch_size=batch_size, no_upscale=no_upscale), shown)
    items = [BucketedItem(int(name), placed.bucket, shown[name]) for name, placed in plan.pictures.items()]
    assert plan.batches == len(epoch_batches(items, batch_size, seed=0, epoch=0))
    assert sum(each.pictures for each in plan.buckets) == len(plan.pictures) == len(pictures) - len(plan.refused)
    assert [each.size for each in plan.buckets] == sorted({placed.bucket for placed in plan.pictures.values()})
    assert all(each.small == (each.pictures < batch_size) for each in plan.buckets)


@settings(deadline=None)
@given(sizes, st.booleans(), st.booleans())
def test_the_frame_is_what_training_cuts(size, no_upscale, enabled) -> None:
    """A picture whose pixels are their own coordinates: where those in the cut come from shows what was cut."""
    options = BucketOptions(128, 16, no_upscale=no_upscale, enabled=enabled)
    plan = plan_buckets({"a": size}, options, {})
    if plan.refused:
        return
    placed = plan.pictures["a"]
    left, top, right, bottom = placed.crop
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    across = np.broadcast_to(np.arange(size[0], dtype=np.float32) + 0.5, size[::-1])
    down = np.broadcast_to((np.arange(size[1], dtype=np.float32) + 0.5)[:, None], size[::-1])
    for axis, (values, start, end) in enumerate([(across, left, right), (down, top, bottom)]):
        cut = np.asarray(fit(Image.fromarray(np.ascontiguousarray(values)), placed.resized, placed.bucket))
        line = cut[cut.shape[0] // 2] if axis == 0 else cut[:, cut.shape[1] // 2]
        pixel = (end - start) / placed.bucket[axis]
        expected = start + (np.arange(placed.bucket[axis]) + 0.5) * pixel
        inner = slice(4, -4)  # at the edge of the picture there is nothing to blend with
        assert np.abs(line - expected)[inner].max() < 0.6 * max(1, pixel)
