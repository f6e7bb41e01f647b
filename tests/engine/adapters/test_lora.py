"""LoRA's own rules: ranks, alpha, other programs' shapes, dropout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.factored import magnitude
from engine.adapters.lora import Lora
from engine.config.adapter import LoraOptions

LINEAR, POINT, CONV = LayerShape(10, 6), LayerShape(10, 6, (1, 1)), LayerShape(10, 6, (3, 3))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("options", "shape", "rank", "alpha"),
    [
        (LoraOptions(rank=4, alpha=2, conv_rank=3, conv_alpha=1.5), LINEAR, 4, 2),
        (LoraOptions(rank=4, alpha=2, conv_rank=3, conv_alpha=1.5), POINT, 4, 2),
        (LoraOptions(rank=4, alpha=2, conv_rank=3, conv_alpha=1.5), CONV, 3, 1.5),
        (LoraOptions(rank=4, alpha=0, conv_rank=3, conv_alpha=0), LINEAR, 4, 4),
        (LoraOptions(rank=4, alpha=0, conv_rank=3, conv_alpha=0), CONV, 3, 3),
    ],
)
def test_rank_and_alpha_by_kind_of_layer(options: LoraOptions, shape: LayerShape, rank: int, alpha: float) -> None:
    lora = Lora.create(shape, {}, options, generator())
    tensors = lora.tensors()
    assert tensors["lora_down.weight"].shape == (rank, 6, *shape.kernel)
    assert tensors["lora_up.weight"].shape == (10, rank, *(1 for _ in shape.kernel))
    assert tensors["alpha"].dtype == torch.float32 and tensors["alpha"].shape == () and tensors["alpha"] == alpha
    assert lora.rank == rank and lora.scale == alpha / rank


def test_the_change_is_alpha_over_rank_times_up_times_down() -> None:
    up, down = torch.randn(10, 2, generator=generator()), torch.randn(2, 6, generator=generator(1))
    assert torch.allclose(Lora(down, up, alpha=6.0).deltas({})["weight"], 3 * up @ down)
    assert torch.linalg.matrix_rank(Lora(down, up, alpha=6.0).deltas({})["weight"]) == 2


def test_initial_values_depend_on_the_generator_only() -> None:
    torch.manual_seed(1)
    one = Lora.create(LINEAR, {}, LoraOptions(), generator(5)).tensors()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    two = Lora.create(LINEAR, {}, LoraOptions(), generator(5)).tensors()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before)


def pair(down: tuple[int, ...], up: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        "lora_down.weight": torch.randn(down, generator=generator()).half(),
        "lora_up.weight": torch.randn(up, generator=generator(1)).half(),
        "alpha": torch.tensor(2.0).half(),
    }


@pytest.mark.parametrize(
    ("shape", "down", "up"), [(POINT, (2, 6), (10, 2)), (LINEAR, (2, 6, 1, 1), (10, 2, 1, 1)), (CONV, (2, 6, 3, 3), (10, 2))]
)
def test_matrices_for_convolutions_and_the_reverse_are_understood(shape: LayerShape, down: tuple, up: tuple) -> None:
    tensors = pair(down, up)
    lora = Lora.from_tensors(shape, tensors)
    right = tensors["lora_up.weight"].float().flatten(1) @ tensors["lora_down.weight"].float().flatten(1)
    assert torch.equal(lora.deltas({})["weight"].flatten(1), right)
    assert lora.deltas({})["weight"].shape == (10, 6, *shape.kernel)


@pytest.mark.parametrize(
    ("shape", "down", "up"),
    [
        (LINEAR, (2, 7), (10, 2)),
        (LINEAR, (2, 6), (11, 2)),
        (CONV, (2, 6, 1, 1), (10, 2, 1, 1)),
        (POINT, (2, 6, 3, 3), (10, 2, 1, 1)),
    ],
)
def test_what_does_not_fit_the_layer_is_said_with_the_shapes(shape: LayerShape, down: tuple, up: tuple) -> None:
    with pytest.raises(ValueError, match="needed") as caught:
        Lora.from_tensors(shape, pair(down, up))
    assert str(down) in str(caught.value) or str(up) in str(caught.value)


@pytest.mark.parametrize("layer", [nn.Linear(6, 10), nn.Conv2d(6, 10, 3)], ids=["linear", "conv"])
def test_dropout(layer: nn.Module) -> None:
    lora = Lora.create(LayerShape.of(layer), {}, LoraOptions(rank=64, conv_rank=64, dropout=0.5), generator())
    with torch.no_grad():
        lora.lora_up.weight.fill_(1.0)
    x = torch.randn((40, 6) if isinstance(layer, nn.Linear) else (4, 6, 5, 5), generator=generator(2))
    y = layer(x)
    full = lora.eval()(x, y, layer)
    lora.train().begin_step(generator(3))
    state = torch.get_rng_state()
    dropped = lora(x, y, layer)
    assert not torch.allclose(dropped, full)
    assert torch.equal(lora(x, y, layer), dropped)  # a recomputed forward drops the same
    assert torch.equal(torch.get_rng_state(), state)
    lora.begin_step(generator(4))
    assert not torch.equal(lora(x, y, layer), dropped)
    lora.begin_step(generator(3))
    assert torch.equal(lora(x, y, layer), dropped)
    draws = torch.stack([_drawn(lora, x, layer, seed) for seed in range(300)])
    assert (draws.mean(0) - full).abs().mean() < 0.15 * full.abs().mean()  # the mean over many draws is the whole


def _drawn(lora: Lora, x: Tensor, layer: nn.Module, seed: int) -> Tensor:
    lora.begin_step(generator(seed))
    return lora(x, layer(x), layer).detach()


@pytest.mark.parametrize("case", ["dora", "a row of zeros", "the opposite of the weight"])
def test_the_norms_of_a_decomposed_weight_need_no_weight(case: str) -> None:
    layer = torch.nn.Conv2d(6, 8, 3)
    with torch.no_grad():
        layer.weight[2] *= case != "a row of zeros"
    lora = Lora(torch.randn(4, 6, 3, 3), torch.randn(8, 4, 1, 1), 2.0)
    if case == "the opposite of the weight":
        with torch.no_grad():
            layer.weight.copy_(-lora.change())
    wanted = magnitude(layer.weight + lora.change(), 0)
    torch.testing.assert_close(lora.norms(layer.weight, 0), wanted, rtol=1e-4, atol=0.02 if case[0] == "t" else 1e-4)
    assert torch.equal(
        Lora(torch.randn(4, 6, 3, 3), torch.zeros(8, 4, 1, 1), 2.0).norms(layer.weight, 0), magnitude(layer.weight, 0)
    )
