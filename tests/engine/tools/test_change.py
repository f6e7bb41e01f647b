from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.tools.change import Change, balanced, relative_error, weighted_sum


def thin(rank: int, size: tuple[int, ...], seed: int) -> Change:
    generator = torch.Generator().manual_seed(seed)
    columns = torch.Size(size[1:]).numel()
    return Change(size, torch.randn(rank, columns, generator=generator), torch.randn(size[0], rank, generator=generator))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.floats(-2, 2, width=32)), min_size=1, max_size=4),
    st.sampled_from([(6, 4), (3, 2, 3, 3)]),
)
def test_ranks_side_by_side_are_the_sum(terms: list[tuple[int, float]], size: tuple[int, ...]) -> None:
    changes = [(thin(rank, size, seed), weight) for seed, (rank, weight) in enumerate(terms)]
    total = weighted_sum(changes)
    assert total.rank == sum(rank for rank, _ in terms)
    expected = sum(weight * change.dense()["weight"].double() for change, weight in changes)
    assert torch.allclose(total.dense()["weight"].double(), expected, atol=1e-5)
    assert total.norm() == pytest.approx(float(expected.norm()), abs=1e-5)


def test_balancing_changes_no_bit_of_the_product() -> None:
    down, up = torch.randn(4, 9) * 1000, torch.randn(7, 4) * 1e-6
    up[:, 2] = 0
    new_down, new_up = balanced(down, up)
    assert torch.equal(new_up @ new_down, up @ down)
    assert torch.equal(new_down[2], down[2]) and not new_up[:, 2].any()
    ratio = new_up.norm(dim=0) / new_down.norm(dim=1)
    assert ((ratio > 0.25) & (ratio < 4))[[0, 1, 3]].all()


def test_whole_and_thin_add_up() -> None:
    a = thin(2, (4, 3, 1, 1), 0)
    b = Change((4, 3), whole={"weight": torch.randn(4, 3), "bias": torch.randn(4)})
    total = weighted_sum([(a, 2.0), (b, -1.0)])
    assert total.size == (4, 3, 1, 1) and total.rank == 0 and not total.reducible()
    assert torch.allclose(total.whole["weight"].flatten(1), 2 * a.dense()["weight"].flatten(1) - b.whole["weight"])
    assert torch.equal(total.whole["bias"], -b.whole["bias"])
    with pytest.raises(ValueError, match="cannot be added"):
        weighted_sum([(a, 1.0), (thin(1, (4, 4), 1), 1.0)])


def test_relative_error() -> None:
    a = thin(3, (20, 30), 0)
    assert relative_error(a, a) == 0
    half = Change(a.size, a.down, a.up / 2 if a.up is not None else None)
    assert relative_error(half, a) == pytest.approx(0.5)
    nothing = Change(a.size, a.down, torch.zeros(20, 3))
    assert relative_error(nothing, nothing) == 0 and relative_error(a, nothing) == pytest.approx(a.norm())
    assert relative_error(Change((4,), whole={"weight": torch.ones(4)}), Change((4,), whole={"weight": 2 * torch.ones(4)})) == 0.5
