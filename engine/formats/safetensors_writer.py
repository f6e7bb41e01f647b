"""Safetensors bytes that depend on nothing but the tensors and the metadata.

The safetensors library writes metadata in an order that changes from run to run; here names are sorted, so that equal
content makes equal files. Tensors lie as that library lays them (wide dtypes first, then by name), so the payload and its
hash are the same as other programs would write. Tensors may be made one by one as they are written, so that a file of any size
needs the memory of its largest tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.layers import Size
from engine.errors import ModelError
from engine.formats.hashes import payload_hash
from engine.formats.lazy_tensor import DTYPE_NAMES, LazyTensor, dtype_name
from engine.formats.safetensors_header import DTYPE_BITS, TensorInfo, read_header
from engine.workspace import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

HASH = "modelspec.hash_sha256"
"""Metadata key of the model card: SHA-256 of the payload, which the metadata do not touch, as "0x" and 64 digits."""
Watch = Callable[[int, int], None]
"""Told how many tensors are done, and of how many."""


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file whole or not at all, then read it back.

    Raises:
        ModelError: `file.write_failed` when the file does not read back as written.
    """
    write_payload(path, arrange(described(tensors)), metadata, tensor_payload(tensors))


def write_lazily(
    path: Path, tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str], on_tensor: Watch = lambda done, total: None
) -> None:
    """The same, each tensor made when its turn comes and forgotten when it is written. The hash is put into the metadata.

    Raises:
        ModelError: `model.not_finite`, `file.write_failed`.
    """
    infos = arrange({name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()})

    def payload() -> Iterator[memoryview]:
        for index, name in enumerate(infos):
            yield finite_bytes(name, tensors[name].read(), path)
            on_tensor(index + 1, len(infos))

    write_payload(path, infos, {**metadata, HASH: ""}, payload())


def write_payload(
    path: Path, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str], payload: Iterable[bytes | memoryview]
) -> None:
    """Write header and payload whole or not at all, then read the payload back and compare its hash.

    Args:
        metadata: where `HASH` stands in it, the hash is put there.
        payload: the bytes of each tensor, in their order.

    Raises:
        ModelError: `file.write_failed`.
    """
    digest = hashlib.sha256()

    def header() -> bytes:
        signed = {HASH: f"0x{digest.hexdigest()}"} if HASH in metadata else {}
        return header_bytes(tensors, {**metadata, **signed})

    with atomic_write(path) as stream:
        stream.write(header())
        for part in payload:
            digest.update(part)
            stream.write(part)
        stream.seek(0)
        stream.write(header())  # as long as before, now with the hash of all
    if payload_hash(path, read_header(path).payload_offset) != digest.hexdigest():
        raise not_as_written(path)


def described(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, Size]]:
    """Name -> number format and shape."""
    return {name: (dtype_name(tensor), tuple(tensor.shape)) for name, tensor in tensors.items()}


def arrange(described: Mapping[str, tuple[str, Size]]) -> dict[str, TensorInfo]:
    """Where each tensor lies, in the order of the file: wide dtypes first, then by name."""
    order, position, placed = list(DTYPE_NAMES.values()), 0, {}
    for name in sorted(described, key=lambda name: (-order.index(described[name][0]), name)):
        dtype, shape = described[name]
        end = position + prod(shape) * DTYPE_BITS[dtype] // 8
        placed[name] = TensorInfo(dtype, shape, position, end)
        position = end
    return placed


def tensor_payload(tensors: Mapping[str, Tensor]) -> list[memoryview]:
    """The bytes of each tensor, in file order."""
    return [tensor_bytes(tensors[name]) for name in arrange(described(tensors))]


def tensor_bytes(tensor: Tensor) -> memoryview:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def finite_bytes(name: str, tensor: Tensor, path: Path) -> memoryview:
    """The bytes of a tensor of a base model.

    Raises:
        ModelError: `model.not_finite`.
    """
    import torch

    # float8 has no isfinite; float32 holds each of its values exactly.
    if tensor.is_floating_point() and not torch.isfinite(tensor.float() if tensor.itemsize == 1 else tensor).all():
        raise ModelError(
            "model.not_finite", f"Tensor {name!r} holds NaN or infinity; {path.name} was not written.",
            "Finite numbers were expected.", "Use smaller weights, a wider number format, or a base model that is sound.",
            path=path, tensor=name,
        )  # fmt: skip
    return tensor_bytes(tensor)


def header_bytes(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bytes:
    """Length prefix and JSON header, padded with spaces to a multiple of 8 bytes."""
    content: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    for name, info in tensors.items():
        content[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [info.start, info.end]}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def not_as_written(path: Path) -> ModelError:
    return ModelError(
        "file.write_failed", f"{path.name} does not read back as it was written.", "The same bytes were expected.",
        "The disk or the network drive is failing; save to another place.", path=path,
    )  # fmt: skip
