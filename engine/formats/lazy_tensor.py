"""Tensors that are made when their turn comes, so that a model is written without being in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from engine.config.layers import Size

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DTYPE_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3",
    "int16": "I16", "float16": "F16", "bfloat16": "BF16", "int32": "I32", "float32": "F32", "float64": "F64", "int64": "I64",
}  # fmt: skip
"""Torch dtype -> name on disk, in ascending order of the layout."""
_WORDS = {written: word for word, written in DTYPE_NAMES.items()}
_FLOATS = ("F8_E5M2", "F8_E4M3", "F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class LazyTensor:
    """Attributes:
    dtype: the number format, as headers name it.
    read: makes the tensor, in that number format and shape.
    """

    dtype: str
    shape: Size
    read: Callable[[], Tensor]

    def rounded(self, dtype: str) -> LazyTensor:
        """In another number format; whole numbers stay what they are."""
        if self.dtype not in _FLOATS:
            return self
        return LazyTensor(dtype, self.shape, lambda: self.read().to(torch_dtype(dtype)))


def in_memory(tensors: Mapping[str, Tensor]) -> dict[str, LazyTensor]:
    """Tensors that are there already."""
    return {
        name: LazyTensor(dtype_name(tensor), tuple(tensor.shape), partial(tensors.__getitem__, name))
        for name, tensor in tensors.items()
    }


def dtype_name(tensor: Tensor) -> str:
    return DTYPE_NAMES[str(tensor.dtype).removeprefix("torch.")]


def torch_dtype(name: str) -> torch.dtype:
    import torch

    return getattr(torch, _WORDS[name])
