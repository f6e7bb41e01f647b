"""A frozen base in 4 or 8 bits, for cards with little memory: QLoRA (Dettmers et al. 2023, sections 3 and 4).

Linear layers are replaced by those of bitsandbytes, which give their outputs and the gradients of their inputs; convolutions,
normalisation and embeddings stay as they are. Adapters do not notice: they see activations, or the weight as it is dequantised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from engine.errors import ModelError

SMALLEST = 4096
"""Weights with fewer numbers stay as they are: they would save nothing and lose precision."""


def nf4(layer: nn.Linear, library: Any) -> nn.Module:
    """4-bit normal floats with doubly quantised scales, about 4.1 bits per weight."""
    made = library.nn.Linear4bit(
        layer.in_features, layer.out_features, layer.bias is not None, layer.weight.dtype, quant_type="nf4"
    )
    made.weight = library.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True)
    # On some CPUs bitsandbytes packs the weight anew at the first forward without gradients, with coarser scales: the base
    # would change, and widths that are no multiple of 64 fail.
    made.support_avx512bf16_for_cpu = False
    return made


def int8(layer: nn.Linear, library: Any) -> nn.Module:
    """LLM.int8() (Dettmers et al. 2022) without its 16-bit outlier columns: one scale per row."""
    made = library.nn.Linear8bitLt(layer.in_features, layer.out_features, layer.bias is not None, has_fp16_weights=False)
    made.weight = library.nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    return made


FORMATS: dict[str, Callable[[nn.Linear, Any], nn.Module]] = {"nf4": nf4, "int8": int8}
"""`model.quantization` -> how one layer is quantised."""


def quantise(part: nn.Module, how: str) -> int:
    """Quantise the Linear layers of a frozen part in place, one at a time. Returns how many.

    Raises:
        ModelError: `model.no_bitsandbytes`.
    """
    try:
        import bitsandbytes
    except ImportError as error:
        raise ModelError(
            "model.no_bitsandbytes", f"A base in {how} needs bitsandbytes, which is not installed.", "The package bitsandbytes.",
            "Install it (pip install bitsandbytes), or set the base's quantization to none.", field="model.quantization", how=how,
        ) from error  # fmt: skip
    wanted = [
        (path, layer) for path, layer in part.named_modules() if type(layer) is nn.Linear and layer.weight.numel() >= SMALLEST
    ]
    for path, layer in wanted:
        owner, _, name = path.rpartition(".")
        device, made = layer.weight.device, FORMATS[how](layer, bitsandbytes)
        made.bias = layer.bias
        setattr(part.get_submodule(owner), name, made.to(device).eval().requires_grad_(False))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return len(wanted)
