"""Copying a safetensors file tensor by tensor, with other metadata and some tensors changed, so that its size does not matter.

Tensors that are not changed are copied as bytes; all keep their place, shape and number format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ModelError
from engine.formats.safetensors_header import Header, TensorInfo, read_header
from engine.formats.safetensors_reader import tensor_of
from engine.workspace import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 2**22


def copy_safetensors(
    source: Path,
    target: Path,
    metadata: Mapping[str, str],
    changed: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    on_tensor: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write `target`, which may be `source` itself, whole or not at all, then read it back and compare its hash.

    Args:
        changed: tensor name -> from the old tensor the new one, of the same shape; it is rounded to the old format. The very
            same tensor given back is copied as it was.
        on_tensor: tensors done and in all.

    Raises:
        ModelError: codes `file.*`; `model.not_finite` for a new tensor that the format cannot hold; `file.write_failed`.
    """
    header, changed = read_header(source), changed or {}
    ordered = sorted(header.tensors.items(), key=lambda item: (item[1].start, item[1].end))
    digest = hashlib.sha256()
    with atomic_write(target) as out:
        out.write(_header_bytes(header, metadata))
        with source.open("rb") as stream:
            stream.seek(header.payload_offset)
            for index, (name, info) in enumerate(ordered):
                part = stream.read(info.end - info.start)
                if name in changed:
                    part = _new_bytes(name, info, part, changed[name], target)
                digest.update(part)
                out.write(part)
                on_tensor(index + 1, len(ordered))
    if _payload_hash(target) != digest.digest():
        raise ModelError(
            "file.write_failed", f"{target.name} does not read back as it was written.", "The same bytes were expected.",
            "The disk or the network drive is failing; save to another place.", path=target,
        )  # fmt: skip


def _header_bytes(header: Header, metadata: Mapping[str, str]) -> bytes:
    content: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    for name, info in header.tensors.items():
        content[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [info.start, info.end]}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _new_bytes(name: str, info: TensorInfo, old: bytes, change: Callable[[Tensor], Tensor], target: Path) -> bytes:
    import torch

    stored = tensor_of(info, old)
    if (new := change(stored)) is stored:
        return old
    new = new.to(stored.dtype)
    assert tuple(new.shape) == info.shape
    if not torch.isfinite(new.float()).all():
        raise ModelError(
            "model.not_finite", f"Tensor {name!r} holds NaN or infinity; {target.name} was not written.",
            "Finite numbers were expected.", "Use smaller weights, or a base model in a wider number format.", path=target, tensor=name,
        )  # fmt: skip
    return new.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _payload_hash(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        stream.seek(read_header(path).payload_offset)
        while part := stream.read(CHUNK):
            digest.update(part)
    return digest.digest()
