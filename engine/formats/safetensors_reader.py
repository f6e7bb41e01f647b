"""Reading single tensors of a safetensors file whose header is known, without parsing it again for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.formats.lazy_tensor import torch_dtype
from engine.formats.safetensors_header import Header, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor


def read_tensor(path: Path, header: Header, name: str) -> Tensor:
    """A tensor in its stored number format, copied out of the file."""
    info = header.tensors[name]
    with path.open("rb") as stream:
        stream.seek(header.payload_offset + info.start)
        return tensor_of(info, stream.read(info.end - info.start))


def tensor_of(info: TensorInfo, content: bytes) -> Tensor:
    """The tensor that these bytes are."""
    import torch

    dtype = torch_dtype(info.dtype)
    if not content:
        return torch.empty(info.shape, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype).view(info.shape)
