"""q, k and v make one product of their input: the same outputs and gradients as apart, and nothing left behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from engine.adapters import siblings
from engine.adapters.network import Network
from engine.adapters.siblings import Siblings
from engine.config.adapter import LayerOptions, LoraOptions
from engine.config.targets import Layer, Target

PROJECTIONS = ("to_q", "to_k", "to_v")


class Attention(nn.Module):
    """Self-attention, or what `given` makes of its input for each projection."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(12, size) for size in (8, 8, 8, 8))
        self.to_out = nn.Linear(8, 12)
        self.given = lambda x: (x, x, x)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(part) for layer, part in zip((self.to_q, self.to_k, self.to_v), self.given(x), strict=True))
        with sdpa_kernel(SDPBackend.MATH):
            return x + self.to_out(nn.functional.scaled_dot_product_attention(q, k, v))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Attention(), Attention()).requires_grad_(False)


def network_of(model: nn.Module, *options: LayerOptions, share: bool = True) -> Network:
    """Adapters with random weights on all projections; of several `options` each is for the next layer, round and round."""
    paths = [f"{block}.{name}" for block in range(2) for name in (*PROJECTIONS, "to_out")]
    targets = [
        Target(
            Layer(path, "attention", shared_input=path[0] if share and path[2:] in PROJECTIONS else ""), options[i % len(options)]
        )
        for i, path in enumerate(paths)
    ]
    network = Network.create("sd1", {"unet": model}, {"unet": targets}, seed=0).train()
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return network


def results(
    model: nn.Module, network: Network, run=None, strength: float = 0.6, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Output, and the gradients of the input and of what learns."""
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(2)).to(dtype).requires_grad_()
    network.insert({"unet": model}, {"unet": strength})
    network.begin_step(torch.Generator().manual_seed(7))
    y = (run or model)(x)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(y.float().square().sum(), [x, *learning], materialize_grads=True)
    network.remove()
    return [y, *gradients]


def check_same(ours: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-5) -> None:
    for one, other in zip(ours, wanted, strict=True):
        assert one.dtype == other.dtype and (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Ranks of every first product that is made, shared or alone."""
    made: list[int] = []
    shared, alone = siblings._Products.apply, siblings.product

    class Counting:
        @staticmethod
        def apply(x: Tensor, *downs: Tensor) -> object:
            made.append(sum(len(down) for down in downs))
            return shared(x, *downs)

    monkeypatch.setattr(siblings, "_Products", Counting)
    monkeypatch.setattr("engine.adapters.siblings.product", lambda x, down: made.append(len(down)) or alone(x, down))
    yield made


@pytest.mark.parametrize(
    "options",
    [
        (LoraOptions(rank=4, alpha=4),),
        (LoraOptions(rank=4, alpha=2), LoraOptions(rank=3, alpha=9), LoraOptions(rank=1, alpha=1, scaling="root")),
        (LoraOptions(rank=4, freeze_down=True),),
        (LoraOptions(rank=4, freeze_down=True), LoraOptions(rank=4)),
        (LoraOptions(rank=4, decompose="outputs"),),
        (LoraOptions(rank=4, decompose="inputs"),),
        (LoraOptions(rank=4, dropout=0.5, rank_dropout=0.5),),
        (LoraOptions(rank=4, module_dropout=0.5),),
    ],
    ids=["alike", "ranks and alphas", "LoRA-FA", "some frozen", "DoRA", "DoRA inputs", "dropout", "module dropout"],
)
def test_shared_is_apart(model: nn.Module, options: tuple[LayerOptions, ...]) -> None:
    check_same(results(model, network_of(model, *options)), results(model, network_of(model, *options, share=False)))


def test_three_products_are_one(model: nn.Module, products: list[int]) -> None:
    results(model, network_of(model, LoraOptions(rank=4), LoraOptions(rank=3), LoraOptions(rank=2)))
    assert products == [9, 9]  # q, k and v at once, in each of the two blocks


def test_small_inputs_are_not_worth_it(model: nn.Module, products: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings, "SMALL", 2 * 5 * 12 + 1)
    results(model, network_of(model, LoraOptions(rank=4)))
    assert set(products) == {4}


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(model: nn.Module, reentrant: bool) -> None:
    network = network_of(model, LoraOptions(rank=4, dropout=0.3))
    wanted = results(model, network)

    def run(x: Tensor) -> Tensor:
        for block in model:
            x = checkpoint(block, x, use_reentrant=reentrant, preserve_rng_state=False)
        return x

    if reentrant:  # does not work with `autograd.grad`
        x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(2)).requires_grad_()
        network.insert({"unet": model}, {"unet": 0.6})
        network.begin_step(torch.Generator().manual_seed(7))
        run(x).square().sum().backward()
        check_same([x.grad, *(parameter.grad for parameter in network.parameters())], wanted[1:])  # type: ignore[list-item]
        network.remove()
    else:
        check_same(results(model, network, run), wanted)


@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16], ids=str)
def test_autocast(model: nn.Module, base: torch.dtype) -> None:
    model.to(base)

    def run(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    shared, apart = (results(model, network_of(model, LoraOptions(rank=4), share=share), run) for share in (True, False))
    check_same(shared, apart, 0.05)
    assert all(gradient.dtype == torch.float32 for gradient in shared[1:])


def test_a_bfloat16_base_without_autocast(model: nn.Module) -> None:
    model.to(torch.bfloat16)
    shared, apart = (
        results(model, network_of(model, LoraOptions(rank=4), share=share), dtype=torch.bfloat16) for share in (True, False)
    )
    check_same(shared, apart, 0.05)
    assert shared[0].dtype == torch.bfloat16 and all(gradient.dtype == torch.float32 for gradient in shared[2:])


@pytest.mark.parametrize(
    "given",
    [
        lambda x: (x, x.clone(), x.clone()),
        lambda x: (x, x.flip(1), x.flip(1)),
        lambda x: (x * 2, x * 3, x * 2),
    ],
    ids=["copies", "others", "all differ"],
)
def test_other_inputs_fall_back(model: nn.Module, given) -> None:
    for block in model:
        block.given = given  # type: ignore[assignment]
    shared, apart = (network_of(model, LoraOptions(rank=4), share=share) for share in (True, False))
    wanted = results(model, apart)
    check_same(results(model, shared), wanted)
    check_same(results(model, shared), wanted)
    assert all(not group._parts for group in shared.siblings)


def test_an_input_that_was_written_to_is_another(model: nn.Module) -> None:
    def given(x: Tensor) -> Iterator[Tensor]:
        x = x * 1
        yield x
        with torch.no_grad():
            x.mul_(2)
        yield x
        yield x

    for block in model:
        block.given = given  # type: ignore[assignment]
    outputs = []
    for share in (True, False):
        network = network_of(model, LoraOptions(rank=4), share=share)
        network.insert({"unet": model})
        outputs.append(model(torch.ones(1, 3, 12)))
        network.remove()
    torch.testing.assert_close(*outputs)


def test_factors_that_have_moved_in_between_are_others(model: nn.Module) -> None:
    network, x = network_of(model, LoraOptions(rank=4)), torch.randn(1, 3, 12)
    network.insert({"unet": model})
    block = model[0]
    block.to_q(x)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    given = block.to_k(x)
    network.siblings.clear()
    for adapter in network.adapters.values():
        adapter.siblings = None  # type: ignore[assignment]
    torch.testing.assert_close(given, block.to_k(x))


def test_a_product_without_gradients_is_not_used_with_them(model: nn.Module) -> None:
    network, x = network_of(model, LoraOptions(rank=4)), torch.randn(1, 3, 12)
    network.insert({"unet": model})
    with torch.no_grad():
        model[0].to_q(x)
    model[0].to_k(x).sum().backward()
    down = network.adapters["lora_unet_0_to_k"].lora_down.weight
    assert down.grad is not None and down.grad.abs().max() > 0


def test_several_networks_and_one_that_is_inserted_twice(model: nn.Module) -> None:
    outputs = []
    for share in (True, False):
        one, two = (network_of(model, LoraOptions(rank=rank), share=share) for rank in (4, 2))
        for network in (one, two, one):
            network.insert({"unet": model}, {"unet": 0.5})
        for _ in range(2):
            y = model(torch.ones(1, 3, 12))
        outputs.append([y, *torch.autograd.grad(y.sum(), list(one.parameters()))])
        one.remove()
        two.remove()
    check_same(*outputs)


def test_nothing_is_kept_after_a_step(model: nn.Module) -> None:
    network = network_of(model, LoraOptions(rank=4))
    network.insert({"unet": model})
    x = torch.randn(2, 5, 12)
    model(x).sum().backward()
    gone = weakref.ref(x)
    del x
    gc.collect()
    assert gone() is None and all(not group._parts for group in network.siblings)

    left = torch.randn(2, 5, 12)
    model[0].to_q(left)  # an error on the way to k
    network.begin_step(torch.Generator())
    gone = weakref.ref(left)
    del left
    gc.collect()
    assert gone() is None


def test_in_inference_mode_and_in_evaluation(model: nn.Module) -> None:
    network, x = network_of(model, LoraOptions(rank=4)).eval(), torch.randn(1, 3, 12)
    network.insert({"unet": model})
    with torch.inference_mode():
        inference = model(x * 1)
    torch.testing.assert_close(inference, model(x))


def test_only_what_a_network_is_made_for_is_shared(model: nn.Module) -> None:
    network = network_of(model, LoraOptions(rank=4))
    assert [len(group.members) for group in network.siblings] == [3, 3]
    assert all(isinstance(group, Siblings) for group in network.siblings)
    assert not network_of(model, LoraOptions(rank=4), share=False).siblings


@pytest.mark.parametrize("share", [True, False])
def test_a_compiled_model_gives_the_same(model: nn.Module, share: bool) -> None:
    network = network_of(model, LoraOptions(rank=4), share=share)
    wanted = results(model, network)
    torch._dynamo.reset()
    check_same(results(model, network, torch.compile(model, backend="eager", fullgraph=True)), wanted)
