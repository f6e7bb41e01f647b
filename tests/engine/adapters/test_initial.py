"""What LoRA begins as: against PEFT, and against what the papers promise."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.initial import INITIAL
from engine.adapters.layers import Base, base_tensors
from engine.adapters.lora import Lora
from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.sizes import FROM_WEIGHT
from engine.errors import ConfigError
from tests.support.layers import KINDS, adapted, layer_of, randomised, with_peft
from tests.support.targets import targets

layers = pytest.mark.parametrize("kind", KINDS)
from_weight = pytest.mark.parametrize("initial", FROM_WEIGHT)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def factors(layer: nn.Module, initial: str, rank: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    return INITIAL[initial](LayerShape.of(layer), base_tensors(layer), rank, scale, generator())


def matrix(base: Base) -> Tensor:
    return base["weight"].detach().flatten(1)


@from_weight
def test_peft_computes_the_same(initial: str) -> None:
    """PEFT takes the initial product out of the base, which is wherever its own begins; with ours moved on, both are equal."""
    config = pytest.importorskip("peft").LoraConfig(r=3, lora_alpha=2, init_lora_weights=initial)
    layer = layer_of("linear")
    options = LoraOptions(rank=3, alpha=2, initial=initial)  # type: ignore[arg-type]
    ours = randomised(Lora.create(LayerShape.of(layer), base_tensors(layer), options, generator()))
    tensors = {"lora_A.weight": ours.lora_down.weight, "lora_B.weight": ours.lora_up.weight}
    torch.testing.assert_close(adapted(layer, ours), with_peft(layer, config, tensors), rtol=1e-5, atol=1e-5)


@layers
def test_pissa_begins_as_the_best_approximation_of_its_rank(kind: str) -> None:
    layer = layer_of(kind)
    down, up = factors(layer, "pissa", rank=3, scale=0.5)
    assert down.shape == (3, 6, *LayerShape.of(layer).kernel) and up.shape == (12, 3, *(1 for _ in down.shape[2:]))
    u, s, v = torch.linalg.svd(matrix(base_tensors(layer)), full_matrices=False)
    torch.testing.assert_close(0.5 * up.flatten(1) @ down.flatten(1), u[:, :3] * s[:3] @ v[:3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(down.flatten(1).norm(dim=1), up.flatten(1).norm(dim=0))  # the root of S on either side


def test_pissa_of_a_large_layer_is_nearly_the_best() -> None:
    """No gap after the rank-th singular value, the hardest case."""
    layer = nn.Linear(320, 640)
    down, up = factors(layer, "pissa", rank=16)
    weight = matrix(base_tensors(layer))
    best = torch.linalg.svdvals(weight)[16:].norm()
    assert float((weight - up @ down).norm() / best) < 1.01


@layers
def test_olora_begins_as_the_leading_part_of_the_qr_decomposition(kind: str) -> None:
    layer = layer_of(kind)
    down, up = factors(layer, "olora", rank=3)
    q, r = torch.linalg.qr(matrix(base_tensors(layer)))
    torch.testing.assert_close(up.flatten(1), q[:, :3], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(down.flatten(1), r[:3], rtol=1e-5, atol=1e-5)


@layers
def test_orthogonal_factors_are_not_zero_but_their_product_is(kind: str) -> None:
    down, up = (factor.flatten(1) for factor in factors(layer_of(kind), "orthogonal", rank=4))
    assert (up @ down).abs().max() < 1e-7
    assert torch.linalg.matrix_rank(down) == torch.linalg.matrix_rank(up) == 2


def test_orthogonal_factors_are_as_large_as_those_of_peft() -> None:
    down, up = factors(nn.Linear(400, 600), "orthogonal", rank=16)
    assert [float(down.std()), float(up.std())] == pytest.approx([0.1 * 0.5**0.5] * 2, rel=0.1)


@pytest.mark.parametrize("initial", INITIAL)
def test_initial_values_depend_on_the_generator_only(initial: str) -> None:
    layer = layer_of("conv 3x3")
    torch.manual_seed(1)
    one = factors(layer, initial, rank=2)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert all(torch.equal(a, b) for a, b in zip(one, factors(layer, initial, rank=2), strict=True))
    assert torch.equal(torch.get_rng_state(), before)


@from_weight
def test_a_rank_that_the_weight_does_not_have_is_refused(initial: str) -> None:
    model = nn.Sequential(nn.Linear(6, 4))
    chosen = targets({"unet": ["0"]}, LoraOptions(rank=5, initial=initial))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rank 5 is more than a weight of 4 x 6 has"):
        Network.create("sd1", {"unet": model}, chosen, seed=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"initial": "orthogonal", "rank": 3}, "even rank"),
        ({"initial": "orthogonal", "conv_rank": 3}, "even rank"),
        ({"initial": "orthogonal", "tucker": True}, "tucker"),
        ({"initial": "pissa", "tucker": True}, "tucker"),
        ({"initial": "pissa", "freeze_down": True}, "freeze_down"),
        ({"initial": "olora", "max_norm": 1}, "max_norm"),
        ({"initial": "olora", "start_from": "finished"}, "start_from"),
    ],
)
def test_what_contradicts_initial_values_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        LoraOptions.model_validate(options)
