"""Number formats by the names that people use. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod

from engine.formats.safetensors_header import TensorInfo

FORMAT_NAMES = {"F8_E4M3": "fp8 (e4m3)", "F8_E5M2": "fp8 (e5m2)", "F16": "fp16", "BF16": "bf16", "F32": "fp32"}
"""Number format in a header -> what people call it."""


def numbers_by_format(tensors: Iterable[TensorInfo]) -> dict[str, int]:
    """Number format -> how many numbers are in it, the most used first."""
    formats: Counter[str] = Counter()
    for info in tensors:
        formats[FORMAT_NAMES.get(info.dtype, info.dtype)] += prod(info.shape)
    return dict(formats.most_common())
