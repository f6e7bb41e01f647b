from __future__ import annotations

import pytest
import torch

from engine.tools.resize import REDUCTIONS
from engine.tools.spectrum import (
    above_ratio,
    above_threshold,
    norm_of_product,
    share_of_norm,
    share_of_sum,
    spectrum,
    spectrum_of_product,
)

VALUES = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0])


@pytest.mark.parametrize(("out", "rank", "inputs"), [(40, 5, 30), (6, 9, 30), (40, 9, 6), (5, 5, 5), (7, 1, 9)])
def test_a_product_has_the_spectrum_of_its_matrix(out: int, rank: int, inputs: int) -> None:
    generator = torch.Generator().manual_seed(out)
    down, up = torch.randn(rank, inputs, generator=generator), torch.randn(out, rank, generator=generator)
    found, whole = spectrum_of_product(down, up), spectrum(up @ down)
    count = min(rank, out, inputs)
    assert torch.allclose(found.values[:count], whole.values[:count], rtol=1e-5)
    assert torch.allclose(found.left * found.values @ found.right, up @ down, atol=1e-5)
    assert norm_of_product(down, up) == pytest.approx(float((up @ down).norm()), rel=1e-6)
    small_down, small_up = found.cut(1)
    assert small_down.shape == (1, inputs) and small_up.shape == (out, 1)
    assert float((small_up @ small_down - up @ down).norm()) == pytest.approx(float(whole.values[1:].norm()), abs=1e-4)


def test_thin_products_are_decomposed_without_the_whole_matrix() -> None:
    """A layer of 30 000 x 30 000 would need gigabytes."""
    down, up = torch.randn(2, 30_000), torch.randn(30_000, 2)
    assert len(spectrum_of_product(down, up).values) == 2


def test_ranks_by_hand() -> None:
    assert above_ratio(VALUES, 0.25) == 2 and above_ratio(VALUES, 0.2) == 3 and above_ratio(VALUES, 1.0) == 1
    assert above_threshold(VALUES, 1.5) == 3 and above_threshold(VALUES, 100) == 1
    assert share_of_sum(VALUES, 0.5) == 1 and share_of_sum(VALUES, 0.75) == 2 and share_of_sum(VALUES, 0.76) == 3
    assert share_of_sum(VALUES, 1.0) == 5 and share_of_sum(VALUES, 0.0) == 1
    assert share_of_norm(VALUES, (64 / 86) ** 0.5 - 1e-6) == 1 and share_of_norm(VALUES, (64 / 86) ** 0.5 + 1e-6) == 2
    assert share_of_norm(VALUES, 1.0) == 5


def test_reductions_are_those_of_kohyas_script() -> None:
    """Its formulas, for values whose last ones are not reached (there it never keeps all)."""
    values = torch.linspace(5, 0.1, 40)
    for target in (1.5, 3.0, 10.0):
        assert REDUCTIONS["sv_ratio"](values, target) == int((values > values[0] / target).sum())
    for target in (0.3, 0.6, 0.9):
        by_sum = int(torch.searchsorted(values.cumsum(0) / values.sum(), target)) + 1
        squares = values**2
        by_norm = int(torch.searchsorted(squares.cumsum(0) / squares.sum(), target**2)) + 1
        assert REDUCTIONS["sv_cumulative"](values, target) == by_sum and REDUCTIONS["sv_fro"](values, target) == by_norm
