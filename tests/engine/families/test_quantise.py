"""Bases in 4 and 8 bits: how far they are off, that nothing wide is kept, and the networks that look at their weights' format."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from engine.adapters.layers import base_tensors
from engine.families.quantise import FORMATS, quantise

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not made for this system")
OFF = {"nf4": 0.1, "int8": 0.01, "fp8": 0.03}
"""Format -> how far a weight may be off, as a share of its norm, for normally distributed ones."""


def layer(dtype: torch.dtype = torch.float32, scale: float = 0.02) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Linear(128, 96)
        nn.init.normal_(made.weight, std=scale)
    return made.requires_grad_(False).to(dtype)


def quantised(plain: nn.Linear, how: str) -> nn.Module:
    part = nn.Sequential(copy.deepcopy(plain))
    assert quantise(part, how) == 1
    return part[0]


def inputs(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(2, 5, 128, generator=torch.Generator().manual_seed(1)).to(dtype)


def off(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm())


@pytest.mark.parametrize("scale", [1.0, 0.02, 0.002])
@pytest.mark.parametrize("how", FORMATS)
def test_weights_are_near_whatever_their_scale(how: str, scale: float) -> None:
    plain = layer(scale=scale)
    made = quantised(plain, how)
    assert 0 < off(base_tensors(made)["weight"], plain.weight) < OFF[how]
    assert made.weight.element_size() * made.weight.numel() <= plain.weight.numel()
    assert not made.weight.is_floating_point() and made.bias.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", FORMATS)
def test_outputs_and_gradients_are_those_of_the_dequantised_weight(how: str, dtype: torch.dtype) -> None:
    made, x = quantised(layer(dtype), how), inputs(dtype).requires_grad_()
    weight = base_tensors(made)["weight"].to(dtype)
    y = made(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    assert torch.allclose(y, x @ weight.mT + made.bias, rtol=tolerance, atol=tolerance)
    assert torch.allclose(x.grad, torch.ones_like(y) @ weight, rtol=tolerance, atol=tolerance)
    with torch.no_grad():
        assert torch.allclose(made(x), y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("how", ["int8", "fp8"])
def test_autocast_picks_the_format_of_the_product(how: str) -> None:
    made = quantised(layer(), how)
    with torch.autocast("cpu", torch.bfloat16):
        assert made(inputs()).dtype == torch.bfloat16


@pytest.mark.parametrize("how", FORMATS)
def test_no_wide_weight_is_kept_for_the_backward_pass(how: str) -> None:
    made, kept = quantised(layer(), how), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        y = made(inputs().requires_grad_())
    assert y.requires_grad and all(tensor.nbytes <= made.weight.nbytes for tensor in kept)


def test_a_weight_that_was_stored_in_fp8_stays_what_it_is() -> None:
    plain = layer(torch.bfloat16)
    plain.weight.data = plain.weight.data.to(torch.float8_e4m3fn).to(torch.bfloat16)
    assert torch.equal(base_tensors(quantised(plain, "fp8"))["weight"], plain.weight.float())
    plain.weight.data = plain.weight.data.to(torch.float8_e4m3fn)  # as a file may be read
    assert torch.equal(base_tensors(quantised(plain, "fp8"))["weight"], plain.weight.float())


@pytest.mark.parametrize("how", FORMATS)
def test_rows_of_zeros_stay_zero(how: str) -> None:
    plain = layer()
    plain.weight.data[:64] = 0
    assert torch.equal(base_tensors(quantised(plain, how))["weight"][:64], plain.weight[:64])


@pytest.mark.parametrize("how", FORMATS)
def test_a_network_that_looks_at_the_format_of_its_weights(how: str) -> None:
    config = T5Config(vocab_size=50, d_model=64, d_kv=32, d_ff=128, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = T5EncoderModel(config).eval().requires_grad_(False)
    tokens = torch.arange(12).view(2, 6)
    plain = encoder(tokens).last_hidden_state
    assert quantise(encoder, how) == 2 * (4 + 3)
    assert off(encoder(tokens).last_hidden_state, plain) < 3 * OFF[how]
    encoder.to("cpu", torch.float32)  # as a part that leaves the device and comes back
    assert off(encoder(tokens).last_hidden_state, plain) < 3 * OFF[how]


def test_small_and_other_layers_stay() -> None:
    part = nn.Sequential(nn.Linear(63, 64), nn.Conv2d(64, 64, 3), nn.LayerNorm(8192)).requires_grad_(False)
    assert quantise(part, "fp8") == 0
