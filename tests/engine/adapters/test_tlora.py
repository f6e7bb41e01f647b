"""T-LoRA: ranks by noise for each picture of a batch, and the random triplets it begins from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.layers import base_tensors
from engine.adapters.lora import Lora
from engine.adapters.network import Network
from engine.adapters.tlora import Tlora, last_triplets, ranks_at
from engine.config.adapter import OPTIONS, TloraOptions
from engine.errors import ConfigError
from tests.support.layers import KINDS, adapted, inputs_of, layer_of, randomised
from tests.support.targets import targets

layers = pytest.mark.parametrize("kind", KINDS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def new(layer: nn.Module, **options: Any) -> Tlora:
    chosen = TloraOptions(**{"rank": 4, "alpha": 2, "min_rank": 1} | options)
    return Tlora.create(LayerShape.of(layer), base_tensors(layer), chosen, generator())


def cut(adapter: Tlora, rank: int) -> Tensor:
    """The change with the first ranks only, written out."""
    now = adapter.lora_up.weight.flatten(1)[:, :rank] * adapter.values[:rank] @ adapter.lora_down.weight.flatten(1)[:rank]
    return adapter.scale * now - adapter.first_up.flatten(1)[:, :rank] @ adapter.first_down.flatten(1)[:rank]


def test_ranks_by_noise() -> None:
    times = torch.tensor([0.0, 0.249, 0.25, 0.5, 0.999, 1.0])
    assert ranks_at(times, 8, 2, 1.0).sum(1).tolist() == [8, 6, 6, 5, 2, 2]
    assert ranks_at(times, 8, 2, 2.0).sum(1).tolist() == [8, 5, 5, 3, 2, 2]
    assert ranks_at(times, 8, 8, 1.0).sum(1).tolist() == [8] * 6
    assert ranks_at(torch.tensor([0.5]), 4, 1, 1.0).tolist() == [[1, 1, 0, 0]]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_lycoris_has_the_same_ranks(power: float) -> None:
    theirs = pytest.importorskip("lycoris.modules.tlora").compute_timestep_mask
    steps = range(0, 1000, 7)
    wanted = torch.cat([theirs(step, 1000, 16, 4, power) for step in steps])
    assert (ranks_at(torch.tensor(steps) / 1000, 16, 4, power) != wanted).sum() <= 1  # rounding just at a whole number


@layers
def test_each_picture_of_a_batch_has_the_ranks_of_its_noise(kind: str) -> None:
    layer = layer_of(kind)
    adapter, x = randomised(new(layer)).train(), inputs_of(layer)
    adapter.begin_batch(torch.tensor([1.0, 0.5]))
    given = adapter(x, layer(x), layer)
    for picture, rank in enumerate((1, 2)):
        change = {"weight": cut(adapter, rank).view_as(layer.weight), "bias": torch.zeros(12)}
        wanted = torch.func.functional_call(layer, change, (x[picture : picture + 1],))
        torch.testing.assert_close(given[picture : picture + 1], wanted, rtol=1e-4, atol=1e-5)


def test_vectors_of_a_batch_have_ranks_too() -> None:
    """As the time embedding of a residual block: (B, C)."""
    layer = layer_of("linear")
    adapter, x = randomised(new(layer)).train(), torch.randn(2, 6, generator=generator())
    adapter.begin_batch(torch.tensor([1.0, 0.0]))
    given = adapter(x, layer(x), layer)
    for picture, rank in enumerate((1, 4)):
        torch.testing.assert_close(given[picture], cut(adapter, rank) @ x[picture], rtol=1e-4, atol=1e-5)


@layers
def test_ranks_that_do_not_work_do_not_learn(kind: str) -> None:
    layer = layer_of(kind)
    adapter, x = randomised(new(layer)).train(), inputs_of(layer)
    adapter.begin_batch(torch.tensor([0.5, 0.75]))
    adapter(x, layer(x), layer).square().sum().backward()
    grads = adapter.lora_down.weight.grad, adapter.lora_up.weight.grad.transpose(0, 1), adapter.values.grad  # type: ignore[union-attr]
    assert all(grad is not None and grad[:2].count_nonzero() and not grad[2:].any() for grad in grads)


@layers
def test_all_ranks_work_in_evaluation_and_in_the_file(kind: str) -> None:
    layer = layer_of(kind)
    adapter = randomised(new(layer))
    adapter.begin_batch(torch.tensor([1.0, 1.0]))
    finished = Lora.from_tensors(LayerShape.of(layer), adapter.tensors())
    assert finished.rank == 8
    torch.testing.assert_close(adapted(layer, adapter), adapted(layer, finished))
    torch.testing.assert_close(adapter.deltas({})["weight"].flatten(1), cut(adapter, 4), rtol=1e-4, atol=1e-5)


def test_lycoris_computes_the_same() -> None:
    tlora = pytest.importorskip("lycoris.modules.tlora")
    layer = layer_of("linear")
    ours = new(layer)
    module = tlora.TLoraModule("x", layer, lora_dim=4, alpha=2, bypass_mode=True)
    module.base_q.copy_(ours.lora_down.weight), module.base_p.copy_(ours.lora_up.weight), module.base_lambda.copy_(ours.values)
    randomised(ours).train()
    with torch.no_grad():
        module.q_layer.weight.copy_(ours.lora_down.weight), module.p_layer.weight.copy_(ours.lora_up.weight)
        module.lambda_layer.copy_(ours.values)
    times = torch.tensor([0.5, 0.5])
    ours.begin_batch(times)
    tlora.set_timestep_mask(ranks_at(times[:1], 4, 1, 1.0))
    try:
        with torch.no_grad():
            theirs = layer(inputs_of(layer)) + module.bypass_forward_diff(inputs_of(layer))
    finally:
        tlora.clear_timestep_mask()
    torch.testing.assert_close(adapted(layer, ours), theirs, rtol=1e-4, atol=1e-5)


# ---- the random triplets ----


@pytest.mark.parametrize(("rows", "columns"), [(12, 6), (6, 54), (8, 8)])
def test_vectors_are_orthonormal_and_values_fall(rows: int, columns: int) -> None:
    left, values, right = last_triplets(rows, columns, 4, generator())
    assert left.shape == (rows, 4) and right.shape == (4, columns)
    torch.testing.assert_close(left.T @ left, torch.eye(4))
    torch.testing.assert_close(right @ right.T, torch.eye(4))
    assert (values > 0).all() and (values.diff() < 0).all()


@pytest.mark.parametrize(("rows", "columns"), [(20, 10), (10, 30), (12, 12)])
def test_values_are_distributed_as_those_of_a_random_matrix(rows: int, columns: int) -> None:
    source = generator(7)
    drawn = torch.stack([last_triplets(rows, columns, 3, source)[1] for _ in range(600)])
    wanted = torch.stack([torch.linalg.svdvals(torch.randn(rows, columns, generator=source) / 3)[-3:] for _ in range(600)])
    spread = wanted.std(0) / 600**0.5
    assert ((drawn.mean(0) - wanted.mean(0)).abs() < 6 * spread).all()
    torch.testing.assert_close(drawn.std(0), wanted.std(0), rtol=0.2, atol=0)


def test_a_rank_that_the_weight_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank 5 is more than a weight of 4 x 6 has"):
        Network.create("sd1", {"unet": nn.Sequential(nn.Linear(6, 4))}, targets({"unet": ["0"]}, TloraOptions(rank=5)), seed=0)


@pytest.mark.parametrize("options", [{"rank": 2, "min_rank": 3}, {"rank": 8, "conv_rank": 2, "min_rank": 4}])
def test_a_rank_that_would_have_to_shrink_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="min_rank"):
        TloraOptions.model_validate(options)


@pytest.mark.parametrize("kind", ["tlora", "vera", "miss", "delora"])
def test_going_on_from_what_is_saved_as_plain_lora_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="set kind to lora"):
        OPTIONS[kind].model_validate({"start_from": "finished"})
