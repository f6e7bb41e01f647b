"""Weights that are made again in the backward pass: the same gradients, less memory, no surprises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from engine.adapters import recompute
from engine.adapters.layers import change_of_output
from engine.adapters.recompute import layer_at

CASES = {
    "linear": (lambda: nn.Linear(6, 10), (2, 5, 6)),
    "linear, rows": (lambda: nn.Linear(6, 10), (5, 6)),
    "linear, one row": (lambda: nn.Linear(6, 10), (6,)),
    "linear without bias": (lambda: nn.Linear(6, 10, bias=False), (2, 3, 4, 6)),
    "conv": (lambda: nn.Conv2d(6, 10, 3, stride=2, padding=1), (2, 6, 9, 9)),
    "conv, dilated": (lambda: nn.Conv2d(6, 10, 3, dilation=2, bias=False), (2, 6, 9, 9)),
    "conv, padded to the same size": (lambda: nn.Conv2d(6, 10, 3, padding="same"), (2, 6, 9, 9)),
    "conv, no batch": (lambda: nn.Conv2d(6, 10, 3), (6, 9, 9)),
    "layer norm": (lambda: nn.LayerNorm(6), (2, 5, 6)),
    "group norm": (lambda: nn.GroupNorm(2, 6), (2, 6, 3, 3)),
}


class Made:
    """Weights that are a product of parameters, and how often and in which format they were made."""

    def __init__(self, layer: nn.Module) -> None:
        torch.manual_seed(1)
        self.layer = layer.requires_grad_(False)
        self.first = nn.Parameter(torch.randn(layer.weight.shape))
        self.second = nn.Parameter(torch.randn(layer.weight.shape))
        self.shift = nn.Parameter(torch.randn(layer.weight.shape[0])) if layer.bias is not None else None
        self.formats: list[torch.dtype] = []

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [self.first, self.second, *([self.shift] if self.shift is not None else [])]

    def __call__(self) -> dict[str, Tensor]:
        mixed = self.first @ self.second.mT @ self.first if self.first.dim() == 2 else self.first * self.second
        self.formats.append(mixed.dtype)
        return {"weight": mixed, **({"bias": self.shift * 2} if self.shift is not None else {})}

    def output(self, x: Tensor) -> Tensor:
        return layer_at(self.layer, x, self, self.parameters)


@pytest.fixture(params=CASES)
def made(request: pytest.FixtureRequest) -> Made:
    made = Made(CASES[request.param][0]())
    made.size = CASES[request.param][1]  # type: ignore[attr-defined]
    return made


def input_of(made: Made, dtype: torch.dtype = torch.float32) -> Tensor:
    size = made.size  # type: ignore[attr-defined]
    return torch.randn(size, generator=torch.Generator().manual_seed(2)).to(dtype).requires_grad_()


def results(made: Made, y: Tensor, x: Tensor) -> list[Tensor]:
    target = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).to(y.dtype)
    return [y, *torch.autograd.grad(y, [x, *made.parameters], target)]


def check_same(ours: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-5) -> None:
    for one, other in zip(ours, wanted, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert (one - other).abs().max() <= tolerance * other.abs().max().clamp_min(1e-3)


def test_gradients_are_autograds(made: Made) -> None:
    x = input_of(made)
    check_same(results(made, made.output(x), x), results(made, change_of_output(made.layer, x, made()), x))


@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16], ids=str)
def test_under_autocast_weights_are_made_in_float32(made: Made, base: torch.dtype) -> None:
    made.layer.to(base)
    x = input_of(made)
    wanted = results(made, change_of_output(made.layer, x, made()), x)
    made.formats.clear()
    with torch.autocast("cpu", torch.bfloat16):
        y = made.output(x)
        ours = results(made, y, x)  # backward within it is wrong of the caller, yet harmless
    assert set(made.formats) == {torch.float32}
    check_same([y.float(), *ours[1:]], wanted, 0.03)


def test_half_precision_computes_in_half_precision(made: Made) -> None:
    x = input_of(made, torch.bfloat16)
    y = made.output(x)
    norm = isinstance(made.layer, nn.LayerNorm | nn.GroupNorm)
    assert y.dtype == (torch.float32 if norm else torch.bfloat16)
    ours = results(made, y, x)
    exact = x.detach().float().requires_grad_()
    wanted = results(made, change_of_output(made.layer, exact, made()), exact)
    check_same([each.float() for each in ours], wanted, 0.03)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_around_it(made: Made, reentrant: bool) -> None:
    x = input_of(made)
    wanted = results(made, made.output(x), x)
    y = checkpoint(made.output, x, use_reentrant=reentrant)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(3)))
    check_same([y, x.grad, *(parameter.grad for parameter in made.parameters)], wanted)  # type: ignore[list-item]


@pytest.mark.parametrize(("small", "kept"), [(0, False), (61, True)])
def test_large_weights_are_not_kept(monkeypatch: pytest.MonkeyPatch, small: int, kept: bool) -> None:
    monkeypatch.setattr(recompute, "SMALL", small)
    made, sizes = Made(nn.Linear(6, 10)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t) or t, lambda t: t):
        made.output(torch.randn(3, 6, requires_grad=True))
    own = {tensor.data_ptr() for tensor in made.parameters}
    assert any(tensor.numel() == 60 and tensor.data_ptr() not in own for tensor in sizes) is kept


def test_parameters_that_move_before_the_backward_pass_are_told(made: Made) -> None:
    if isinstance(made.layer, nn.LayerNorm | nn.GroupNorm):
        pytest.skip("autograd alone")
    y = made.output(input_of(made))
    with torch.no_grad():
        made.first.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_only_what_learns_gets_a_gradient() -> None:
    made = Made(nn.Linear(6, 10))
    made.second.requires_grad_(False)
    x = torch.randn(3, 6)
    made.output(x).sum().backward()
    assert made.second.grad is None and made.first.grad is not None and x.grad is None
    made.first.requires_grad_(False)
    made.shift.requires_grad_(False)  # type: ignore[union-attr]
    assert not made.output(x).requires_grad
    with torch.no_grad():
        assert not Made(nn.Linear(6, 10)).output(x).requires_grad


@pytest.mark.parametrize(("layer", "size"), [(nn.Linear(6, 10), (2, 5, 6)), (nn.Conv2d(6, 10, 3), (2, 6, 9, 9))])
def test_a_change_of_the_bias_alone(layer: nn.Module, size: tuple[int, ...]) -> None:
    layer.requires_grad_(False)
    shift = nn.Parameter(torch.randn(10))
    x = torch.randn(size, requires_grad=True)
    y = layer(x)
    added = y + layer_at(layer, x, lambda: {"bias": shift * 2}, [shift])
    added.sum().backward()
    torch.testing.assert_close(shift.grad, torch.full((10,), 2.0 * y.numel() / 10))
    assert x.grad is not None


def test_a_compiled_layer_gives_the_same(made: Made) -> None:
    x = input_of(made)
    wanted = results(made, made.output(x), x)
    torch._dynamo.reset()
    check_same(results(made, torch.compile(made.output, backend="eager", fullgraph=True)(x), x), wanted)


def test_weights_that_need_no_exactness_are_made_as_autocast_says_in_both_passes() -> None:
    made, x = Made(nn.Linear(6, 10)), torch.randn(2, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer_at(made.layer, x, made, made.parameters, exact=False)
    y.sum().backward()
    assert made.formats == [torch.bfloat16] * 2 and made.first.grad is not None and made.first.grad.dtype == torch.float32
