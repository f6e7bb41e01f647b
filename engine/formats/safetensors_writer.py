"""Safetensors bytes that depend on nothing but the tensors and the metadata.

The safetensors library writes metadata in an order that changes from run to run; here names are sorted, so that equal
content makes equal files. Tensors lie as that library lays them (wide dtypes first, then by name), so the payload and its
hash are the same as other programs would write.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ModelError
from engine.formats.safetensors_header import read_header
from engine.workspace import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

DTYPE_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3",
    "int16": "I16", "float16": "F16", "bfloat16": "BF16", "int32": "I32", "float32": "F32", "float64": "F64", "int64": "I64",
}  # fmt: skip
"""Torch dtype -> name on disk, in ascending order of the layout."""


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file whole or not at all, then read it back and compare every byte of the payload.

    Raises:
        ModelError: `file.write_failed` when the file does not read back as written.
    """
    payload = tensor_payload(tensors)
    with atomic_write(path) as stream:
        stream.write(header_bytes(tensors, metadata))
        for part in payload:
            stream.write(part)
    verify_written(path, payload)


def layout(tensors: dict[str, Tensor]) -> list[str]:
    """Tensor names in the order they lie in the file: wide dtypes first, then by name."""
    order = list(DTYPE_NAMES.values())
    return sorted(tensors, key=lambda name: (-order.index(_dtype_name(tensors[name])), name))


def tensor_payload(tensors: dict[str, Tensor]) -> list[memoryview]:
    """The bytes of each tensor, in file order."""
    import torch

    flat = (tensors[name].detach().cpu().contiguous().reshape(-1) for name in layout(tensors))
    return [tensor.view(torch.uint8).numpy().data for tensor in flat]


def header_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Length prefix and JSON header, padded with spaces to a multiple of 8 bytes."""
    content: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    position = 0
    for name in layout(tensors):
        tensor = tensors[name]
        end = position + tensor.numel() * tensor.itemsize
        content[name] = {"dtype": _dtype_name(tensor), "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def verify_written(path: Path, payload: list[memoryview]) -> None:
    """Compare a written file with the bytes that were meant.

    Raises:
        ModelError: `file.write_failed`.
    """
    header = read_header(path)
    with path.open("rb") as stream:
        stream.seek(header.payload_offset)
        if all(stream.read(len(part)) == part for part in payload):
            return
    raise ModelError(
        "file.write_failed",
        f"{path.name} does not read back as it was written.",
        "The same bytes were expected.",
        "The disk or the network drive is failing; save to another place.",
        path=path,
    )


def _dtype_name(tensor: Tensor) -> str:
    return DTYPE_NAMES[str(tensor.dtype).removeprefix("torch.")]
