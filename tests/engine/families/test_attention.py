"""Attention kernels: the one that is asked for computes, in the recomputation too."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import ModelError
from engine.families.attention import KERNELS, attention
from engine.families.checkpointing import recomputed
from tests.support.networks import network, predict

ENABLED = {
    "flash": torch.backends.cuda.flash_sdp_enabled, "efficient": torch.backends.cuda.mem_efficient_sdp_enabled,
    "cudnn": torch.backends.cuda.cudnn_sdp_enabled, "math": torch.backends.cuda.math_sdp_enabled,
}  # fmt: skip


def allowed() -> set[str]:
    return {name for name, enabled in ENABLED.items() if enabled()}


@pytest.mark.parametrize("kind", KERNELS)
def test_one_kernel_is_allowed_inside_and_all_afterwards(kind: str) -> None:
    before = allowed()
    with attention(kind):
        assert allowed() == {kind}
    with attention("auto"):
        assert allowed() == before


@pytest.mark.parametrize("kind", ["flash", "math"])
def test_what_a_processor_has_gives_the_same_prediction(kind: str) -> None:
    part = network("flux")
    plain = predict("flux", part)
    with attention(kind):
        assert torch.allclose(predict("flux", part), plain, atol=1e-5)


def test_recomputed_blocks_use_the_kernel_of_their_first_forward() -> None:
    seen: list[set[str]] = []
    layer = nn.Linear(4, 4)

    def block(x: Tensor) -> Tensor:
        seen.append(allowed())
        return F.relu(layer(x)).square()

    for kind, expected in (("math", {"math"}), ("auto", allowed())):
        seen.clear()
        with attention(kind):
            y = recomputed(block, torch.ones(1, 4))
        y.sum().backward()
        assert seen == [expected, expected]


def test_a_kernel_that_cannot_is_named() -> None:
    with pytest.raises(ModelError) as caught, attention("flash"):
        raise RuntimeError("No available kernel. Aborting execution.")  # as PyTorch says it on a card
    assert (caught.value.code, caught.value.values["field"]) == ("model.attention", "model.attention")
    assert "flash" in caught.value.what
    with pytest.raises(RuntimeError, match="another"), attention("flash"):
        raise RuntimeError("another error")
