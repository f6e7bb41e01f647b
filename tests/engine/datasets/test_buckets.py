"""Kohya's bucket lists and assignments, recorded from a run of its trainer, and the laws they follow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets.buckets import assign, assign_no_upscale, bucket_list
from engine.errors import DatasetError


def sizes(text: str, transposes: bool = False) -> list[tuple[int, int]]:
    listed = [(int(width), int(height)) for width, height in (size.split("x") for size in text.split())]
    return sorted({*listed, *((height, width) for width, height in listed)}) if transposes else listed


SQUARE_512 = (
    "256x832 256x896 256x960 256x1024 320x704 320x768 384x640 448x576 512x512 576x448 640x384 704x320 768x320 832x256 "
    "896x256 960x256 1024x256"
)
SQUARE_768 = (
    "256x1024 320x1024 384x1024 448x1024 512x1024 576x960 576x1024 640x896 704x832 768x768 832x704 896x640 960x576 1024x256 "
    "1024x320 1024x384 1024x448 1024x512 1024x576"
)
PORTRAIT = (
    "256x1024 320x1024 384x896 384x960 384x1024 448x832 512x704 512x768 576x576 576x640 640x576 704x512 768x512 832x448 "
    "896x384 960x384 1024x256 1024x320 1024x384"
)
SQUARE_1024_HALF = (
    "256x2048 320x2048 384x2048 448x2048 512x1856 512x1920 512x1984 512x2048 576x1664 576x1728 576x1792 640x1536 640x1600 "
    "704x1408 704x1472 768x1280 768x1344 832x1216 896x1152 960x1088 1024x1024"
)
FINE_512_HALF = "320x768 352x704 352x736 384x640 384x672 416x608 448x576 480x544 512x512"


@pytest.mark.parametrize(
    ("resolution", "minimum", "maximum", "step", "expected"),
    [
        ((512, 512), 256, 1024, 64, sizes(SQUARE_512)),
        ((768, 768), 256, 1024, 64, sizes(SQUARE_768)),
        ((512, 768), 256, 1024, 64, sizes(PORTRAIT)),
        ((1024, 1024), 256, 2048, 64, sizes(SQUARE_1024_HALF, transposes=True)),
        ((1024, 1024), 512, 2048, 64, [s for s in sizes(SQUARE_1024_HALF, transposes=True) if min(s) >= 512]),
        ((512, 512), 320, 768, 32, sizes(FINE_512_HALF, transposes=True)),
    ],
)
def test_lists_are_kohyas(resolution, minimum, maximum, step, expected):
    assert bucket_list(resolution, minimum, maximum, step) == expected


def test_a_maximum_equal_to_the_resolution_leaves_only_buckets_with_that_side():
    buckets = bucket_list((1024, 1024), 256, 1024, 64)
    sides = range(256, 1025, 64)
    assert buckets == sorted({*((side, 1024) for side in sides), *((1024, side) for side in sides)})
    assert len(buckets) == 25


def test_minimum_is_rounded_down_and_maximum_up_to_the_step():
    assert bucket_list((512, 512), 300, 1000, 64) == bucket_list((512, 512), 256, 1024, 64)


BUCKETS_512 = bucket_list((512, 512), 256, 1024, 64)


@pytest.mark.parametrize(
    ("size", "bucket", "resized", "error"),
    [
        ((512, 512), (512, 512), (512, 512), 0),
        ((1024, 768), (576, 448), (597, 448), -0.0476),
        ((1920, 1080), (640, 384), (683, 384), -0.1111),
        ((600, 2000), (256, 832), (256, 853), 0.0077),
        ((300, 300), (512, 512), (512, 512), 0),
        ((4000, 1000), (1024, 256), (1024, 256), 0),
        ((600, 400), (640, 384), (640, 427), 640 / 384 - 1.5),
    ],
)
def test_assignments_are_kohyas(size, bucket, resized, error):
    fit = assign(size, BUCKETS_512)
    assert (fit.bucket, fit.resized) == (bucket, resized)
    assert fit.aspect_error == pytest.approx(error, abs=5e-5)


@pytest.mark.parametrize(
    ("size", "bucket", "resized", "error"),
    [
        ((1024, 768), (512, 384), (512, 384), 0),
        ((1920, 1080), (640, 384), (683, 384), -0.1111),
        ((300, 300), (256, 256), (300, 300), 0),
        ((700, 400), (640, 384), (672, 384), -0.0833),
        ((600, 2000), (256, 832), (256, 853), 0.0077),
        ((4000, 1000), (1024, 256), (1024, 256), 0),
    ],
)
def test_assignments_without_upscaling_are_kohyas(size, bucket, resized, error):
    fit = assign_no_upscale(size, (512, 512), 64)
    assert (fit.bucket, fit.resized) == (bucket, resized)
    assert fit.aspect_error == pytest.approx(error, abs=5e-5)


def test_without_buckets_everything_enters_the_resolution():
    assert assign((1920, 1080), [(64, 64)]).resized == (114, 64)
    assert assign((1080, 1920), [(64, 64)]).resized == (64, 114)


picture_sizes = st.tuples(st.integers(16, 4000), st.integers(16, 4000))


@given(picture_sizes, st.sampled_from([(64, 32, 128, 16), (512, 256, 1024, 64), (128, 64, 256, 8)]))
def test_a_resized_picture_covers_its_bucket_and_meets_it_on_one_side(size, shape):
    side, minimum, maximum, step = shape
    buckets = bucket_list((side, side), minimum, maximum, step)
    fit = assign(size, buckets)
    assert fit.bucket in buckets
    assert fit.resized[0] >= fit.bucket[0] and fit.resized[1] >= fit.bucket[1]
    assert fit.resized[0] == fit.bucket[0] or fit.resized[1] == fit.bucket[1]
    nearest = min(abs(width / height - size[0] / size[1]) for width, height in buckets)
    assert size in buckets or abs(fit.aspect_error) == nearest


@given(picture_sizes)
def test_without_upscaling_no_side_grows_and_buckets_lie_on_steps(size):
    try:
        fit = assign_no_upscale(size, (64, 64), 16)
    except DatasetError as error:
        assert error.code == "bucket.picture_too_small"
        return
    assert all(resized <= side for resized, side in zip(fit.resized, size, strict=True))
    assert all(side % 16 == 0 and side <= resized for side, resized in zip(fit.bucket, fit.resized, strict=True))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (((200, 512), 256, 1024, 64), "bucket.below_minimum"),
        (((512, 1100), 256, 1024, 64), "bucket.above_maximum"),
        (((64, 64), 32, 128, 128), "bucket.step"),
        (((64, 64), 8, 128, 16), "bucket.step"),
        (((64, 64), 32, 128, 0), "bucket.step"),
    ],
)
def test_impossible_bucket_settings_are_named(arguments, code):
    with pytest.raises(DatasetError) as caught:
        bucket_list(*arguments)
    assert caught.value.code == code


@pytest.mark.parametrize("size", [(1, 1), (15, 300), (20_000, 20)])
def test_a_picture_below_one_step_is_refused_when_it_may_not_grow(size):
    with pytest.raises(DatasetError) as caught:
        assign_no_upscale(size, (64, 64), 16)
    assert caught.value.code == "bucket.picture_too_small"
    assert f"{size[0]}x{size[1]}" in caught.value.what
