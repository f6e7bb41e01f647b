"""Which kernel computes attention in a prediction: PyTorch's choice, or one of its kernels by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.errors import ModelError

KERNELS: dict[str, SDPBackend] = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
"""`model.attention` -> PyTorch's kernel; "auto" leaves the choice to PyTorch, shape by shape."""


@contextmanager
def attention(kind: str) -> Iterator[None]:
    """Inside, attention is computed by this kernel alone; blocks that are recomputed later use it again.

    Args:
        kind: "auto" or a key of KERNELS.

    Raises:
        ModelError: `model.attention` where the kernel does not take what the model gives it.
    """
    if kind == "auto":
        yield
        return
    try:
        with sdpa_kernel(KERNELS[kind]):
            yield
    except RuntimeError as error:
        if "No available kernel" not in str(error):
            raise
        raise ModelError(
            "model.attention", f"The attention kernel {kind!r} cannot compute this model's attention on this device.",
            "A kernel for its number format, head size and masks.", "Set the attention kernel to auto.",
            field="model.attention", kernel=kind,
        ) from error  # fmt: skip


def attention_as_now() -> tuple[AbstractContextManager, AbstractContextManager]:
    """For `torch.utils.checkpoint`: recompute with the kernels that are allowed now."""
    allowed = {
        SDPBackend.FLASH_ATTENTION: torch.backends.cuda.flash_sdp_enabled(),
        SDPBackend.EFFICIENT_ATTENTION: torch.backends.cuda.mem_efficient_sdp_enabled(),
        SDPBackend.CUDNN_ATTENTION: torch.backends.cuda.cudnn_sdp_enabled(),
        SDPBackend.MATH: torch.backends.cuda.math_sdp_enabled(),
    }
    kernels = [kernel for kernel, enabled in allowed.items() if enabled]
    return nullcontext(), nullcontext() if len(kernels) == len(allowed) else sdpa_kernel(kernels)
