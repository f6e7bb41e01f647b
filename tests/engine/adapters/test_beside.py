"""How what adapters change comes into a layer's output: once where that is exact, in place where nobody minds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.adapters.network import Network
from engine.config.adapter import FullOptions, Ia3Options, LayerOptions, LohaOptions, LoraOptions
from tests.support.targets import targets

WIDE = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.convolution.default}


class Model(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.mid_block = layer.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.mid_block(x)


class Products(TorchDispatchMode):
    """Counts products that have the layer's whole weight, or one of its size, for a factor."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.size, self.count = layer.weight.numel(), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.count += func in WIDE and any(isinstance(arg, Tensor) and arg.numel() == self.size for arg in args)
        return func(*args, **(kwargs or {}))


def network_in(model: Model, options: LayerOptions, strength: float = 1.0, size: float = 0.3) -> Network:
    network = Network.create("sd1", {"unet": model}, targets({"unet": ["mid_block"]}, options), seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * size
    network.insert({"unet": model}, {"unet": strength})
    return network


def wide_products(model: Model, x: Tensor) -> int:
    with Products(model.mid_block) as products:
        model(x)
    return products.count


@pytest.mark.parametrize(
    ("layer", "x"),
    [(nn.Linear(6, 10), torch.ones(3, 5, 6)), (nn.Conv2d(6, 10, 3), torch.ones(2, 6, 9, 9))],
    ids=["linear", "convolution"],
)
def test_changes_of_weights_take_one_product_in_float32(layer: nn.Module, x: Tensor) -> None:
    model = Model(layer)
    network_in(model, LohaOptions(rank=2))
    network_in(model, FullOptions(), strength=0.5)
    assert wide_products(model, x) == 1
    network = network_in(model, LoraOptions(rank=2))
    assert wide_products(model, x) == 3  # the plain layer, and each change by itself
    network.remove()
    model.to(torch.bfloat16)
    assert wide_products(model, x.bfloat16()) == 3


def test_under_autocast_the_weight_is_left_alone() -> None:
    model = Model(nn.Linear(6, 10))
    network_in(model, LohaOptions(rank=2))
    with torch.autocast("cpu", torch.bfloat16):
        assert wide_products(model, torch.ones(3, 5, 6)) == 2


@pytest.mark.parametrize("how", [torch.float32, torch.bfloat16, "autocast"], ids=str)
def test_a_change_far_below_the_weights_rounding_is_there(how: torch.dtype | str) -> None:
    """1 + 0.001 is 1 in bfloat16; the sum over 256 inputs of it is not nothing."""
    model = Model(nn.Linear(256, 4, bias=False))
    model.mid_block.weight.copy_(torch.tensor([1.0, -1.0]).repeat(128).expand(4, -1))
    network = network_in(model, FullOptions(train_bias=False))
    network.adapters["lora_unet_mid_block"].diff.data.fill_(0.001)
    x = torch.ones(3, 256)
    if how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            y = model(x)
    else:
        y = model.to(how)(x.to(how))  # type: ignore[arg-type]
    torch.testing.assert_close(y.float(), torch.full((3, 4), 0.256), rtol=0.01, atol=0)


def test_a_layer_with_a_forward_of_its_own_keeps_it() -> None:
    class Doubling(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    model, x = Model(Doubling(6, 10)), torch.randn(2, 6)
    plain = model(x)
    network = network_in(model, FullOptions())
    diff = network.adapters["lora_unet_mid_block"]
    torch.testing.assert_close(model(x), plain + nn.functional.linear(x, diff.diff, diff.diff_b))


def test_a_base_that_learns_too_gets_its_gradient() -> None:
    model = Model(nn.Linear(6, 10))
    network_in(model, FullOptions())
    model.mid_block.weight.requires_grad_()
    model(torch.randn(2, 6)).sum().backward()
    assert model.mid_block.weight.grad is not None


LAYERS = {
    "rows with bias": (nn.Linear(6, 10), torch.randn(2, 5, 6)),
    "rows without bias": (nn.Linear(6, 10, bias=False), torch.randn(2, 5, 6)),
    "vectors": (nn.Linear(6, 10), torch.randn(5, 6)),
    "rows of rows": (nn.Linear(6, 10), torch.randn(2, 3, 5, 6)),
    "not contiguous": (nn.Linear(6, 10), torch.randn(5, 2, 6).transpose(0, 1)),
    "convolution": (nn.Conv2d(6, 10, 3), torch.randn(2, 6, 9, 9)),
    "channels last": (nn.Conv2d(6, 10, 3), torch.randn(2, 6, 9, 9).to(memory_format=torch.channels_last)),
}


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("how", [torch.float32, torch.bfloat16, "autocast"], ids=str)
@pytest.mark.parametrize("options", [LoraOptions(rank=2, alpha=3), LohaOptions(rank=2), Ia3Options()], ids=lambda o: o.kind)
def test_adding_in_place_is_adding(case: str, how: torch.dtype | str, options: LayerOptions) -> None:
    """y + s * change, number format kept, gradients right, and no copy of the gradient on the way through a view."""
    layer, x = LAYERS[case]
    half = how != torch.float32
    model = Model(layer.to(torch.float32 if how == "autocast" else how))  # type: ignore[arg-type]
    x = (x if how == "autocast" else x.to(how)).detach().requires_grad_()  # type: ignore[arg-type]
    network = network_in(model, options, strength=0.7)
    adapter = network.adapters["lora_unet_mid_block"]
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        y = model(x)
    ours = [y.float(), *torch.autograd.grad(y.float().square().sum(), [x, *adapter.parameters()])]
    network.remove()
    exact = x.detach().float().requires_grad_()
    model.float()
    plain = model(exact)
    wanted = plain + 0.7 * adapter(exact, plain, model.mid_block)
    assert y.dtype == (torch.bfloat16 if half else torch.float32)
    assert "AsStrided" not in str(y.grad_fn) and "CopySlices" not in str(y.grad_fn)
    for one, other in zip(
        ours, [wanted, *torch.autograd.grad(wanted.square().sum(), [exact, *adapter.parameters()])], strict=True
    ):
        assert (one.float() - other).abs().max() <= (0.05 if half else 1e-5) * other.abs().max()


@pytest.mark.parametrize("options", [LoraOptions(rank=2), LohaOptions(rank=2), FullOptions(), Ia3Options()], ids=lambda o: o.kind)
def test_a_compiled_layer_gives_the_same(options: LayerOptions) -> None:
    model, x = Model(nn.Linear(6, 10)), torch.randn(2, 5, 6)
    network_in(model, options, strength=0.7)
    wanted = model(x)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), wanted)
