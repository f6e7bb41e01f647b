"""The Cayley rotation that OFT and BOFT share, and what a file may hold of it."""

from __future__ import annotations

import pytest
import torch

from engine.adapters.base import LayerShape
from engine.adapters.rotation import cayley_change, read_rotation


def blocks(*size: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * scale


def test_it_is_the_cayley_transform_less_the_identity() -> None:
    given = blocks(3, 5, 5)
    q, eye = given - given.mT, torch.eye(5, dtype=torch.float64)
    rotation = cayley_change(given) + eye
    torch.testing.assert_close(rotation, (eye + q) @ (eye - q).inverse())
    torch.testing.assert_close(rotation @ rotation.mT, eye.expand(3, 5, 5))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(3, dtype=torch.float64))


def test_nothing_turns_at_zero_and_there_is_a_gradient_to_begin_with() -> None:
    for bound in (0.0, 0.1):
        given = torch.zeros(2, 3, 3, requires_grad=True)
        change = cayley_change(given, bound)
        assert torch.equal(change, torch.zeros(2, 3, 3))
        change[:, 0, 1].sum().backward()
        assert torch.equal(given.grad[:, 0, 1], torch.full((2,), 2.0)) and torch.isfinite(given.grad).all()  # type: ignore[index]


def test_a_bound_holds_for_all_blocks_together_and_only_beyond_it() -> None:
    given = blocks(4, 3, 3)
    rotation = cayley_change(given, 0.1) + torch.eye(3, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    q = (rotation - eye) @ (rotation + eye).inverse()  # the inverse transform
    assert torch.linalg.vector_norm(q).item() == pytest.approx(0.1)
    torch.testing.assert_close(cayley_change(given, 1000.0), cayley_change(given))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_it_is_solved_in_float32_at_least_under_autocast_too(dtype: torch.dtype) -> None:
    given = blocks(2, 4, 4, scale=0.3).to(dtype)
    plain = cayley_change(given)
    assert plain.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cayley_change(given), plain)
    torch.testing.assert_close(plain.double(), cayley_change(given.double()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "rescale", "dims"),
    [
        ((2, 4, 4), None, 3),  # too few channels
        ((2, 5, 4), None, 3),
        ((10, 10), None, 3),
        ((1, 2, 5, 5), None, 3),
        ((2, 5, 5), None, 4),
        ((2, 5, 5), (9, 1), 3),
    ],
)
def test_what_does_not_fit_the_layer_is_said_with_the_shapes(size: tuple, rescale: tuple | None, dims: int) -> None:
    tensors = {"oft_blocks": torch.zeros(size)} | ({} if rescale is None else {"rescale": torch.ones(rescale)})
    with pytest.raises(ValueError, match="10") as caught:
        read_rotation(LayerShape(10, 6), tensors, dims)
    assert str(rescale or size) in str(caught.value)


def test_blocks_must_be_there_and_without_alpha_they_are_free() -> None:
    with pytest.raises(ValueError, match="oft_blocks is missing"):
        read_rotation(LayerShape(10, 6), {"rescale": torch.ones(10, 1)}, 3)
    given, constraint, rescale = read_rotation(LayerShape(10, 6, (3, 3)), {"oft_blocks": torch.zeros(2, 5, 5).half()}, 3)
    assert (given.dtype, constraint, rescale) == (torch.float32, 0.0, None)
    tensors = {
        "oft_blocks": torch.zeros(2, 5, 5),
        "rescale": torch.ones(10),
        "alpha": torch.tensor(1),
    }  # integers come from LyCORIS
    _, constraint, rescale = read_rotation(LayerShape(10, 6, (3, 3)), tensors, 3)
    assert constraint == 1.0 and rescale is not None and rescale.shape == (10, 1, 1, 1)
