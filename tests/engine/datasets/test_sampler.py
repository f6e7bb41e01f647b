from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from engine.datasets.sampler import BucketedItem, batches_per_epoch, epoch_batches, steps_per_epoch

BUCKETS = [(64, 64), (48, 80), (80, 48)]
item_lists = st.lists(st.tuples(st.sampled_from(BUCKETS), st.integers(0, 5)), min_size=1, max_size=25).map(
    lambda pairs: [BucketedItem(index, bucket, repeats) for index, (bucket, repeats) in enumerate(pairs)]
)


@given(item_lists, st.integers(1, 6), st.integers(0, 2**32 - 1), st.integers(0, 100))
def test_an_epoch_shows_each_picture_as_often_as_it_repeats_and_never_mixes_buckets(items, batch_size, seed, epoch):
    batches = epoch_batches(items, batch_size, seed, epoch)
    assert Counter(index for batch in batches for index in batch) == {item.index: item.repeats for item in items if item.repeats}
    assert all(batches)
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len({items[index].bucket for index in batch}) == 1
    assert len(batches) == batches_per_epoch(items, batch_size)


@given(item_lists, st.integers(1, 6), st.integers(0, 1000))
def test_the_order_depends_on_seed_and_epoch_alone(items, batch_size, seed):
    first = epoch_batches(items, batch_size, seed, 3)
    state = random.getstate()
    random.seed(99)
    assert epoch_batches(items, batch_size, seed, 3) == first
    random.seed(99)
    before = random.getstate()
    epoch_batches(items, batch_size, seed, 3)
    assert random.getstate() == before
    random.setstate(state)


def test_epochs_and_seeds_differ_in_order():
    items = [BucketedItem(index, BUCKETS[index % 3], 2) for index in range(24)]
    orders = [epoch_batches(items, 4, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (50, 0))]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_partial_batches_are_kept_per_bucket():
    # 18 showings in one bucket and 1 in another: 9 full batches of two and one of one
    items = [BucketedItem(index, (64, 64), 3) for index in range(6)] + [BucketedItem(6, (48, 80), 1)]
    assert sorted(map(len, epoch_batches(items, 2, 0, 0))) == [1] + [2] * 9
    assert steps_per_epoch(items, 2) == 10
    assert steps_per_epoch(items, 2, gradient_accumulation=4) == 3
