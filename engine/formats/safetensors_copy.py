"""Copying a safetensors file tensor by tensor, with other metadata and some tensors changed, so that its size does not matter.

Tensors that are not changed are copied as bytes; all keep their place, shape and number format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.formats.safetensors_header import TensorInfo, read_header
from engine.formats.safetensors_reader import tensor_of
from engine.formats.safetensors_writer import Watch, finite_bytes, write_payload

if TYPE_CHECKING:
    from torch import Tensor


def copy_safetensors(
    source: Path,
    target: Path,
    metadata: Mapping[str, str],
    changed: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    on_tensor: Watch = lambda done, total: None,
) -> None:
    """Write `target`, which may be `source` itself, whole or not at all, then read it back and compare its hash.

    Args:
        changed: tensor name -> from the old tensor the new one, of the same shape; it is rounded to the old format. The very
            same tensor given back is copied as it was.

    Raises:
        ModelError: codes `file.*`; `model.not_finite` for a new tensor that the format cannot hold; `file.write_failed`.
    """
    header, changed = read_header(source), changed or {}
    ordered = dict(sorted(header.tensors.items(), key=lambda item: (item[1].start, item[1].end)))

    def payload() -> Iterator[bytes | memoryview]:
        with source.open("rb") as stream:
            stream.seek(header.payload_offset)
            for index, (name, info) in enumerate(ordered.items()):
                part = stream.read(info.end - info.start)
                yield _new_bytes(name, info, part, changed[name], target) if name in changed else part
                on_tensor(index + 1, len(ordered))

    write_payload(target, ordered, metadata, payload())


def _new_bytes(name: str, info: TensorInfo, old: bytes, change: Callable[[Tensor], Tensor], target: Path) -> bytes | memoryview:
    stored = tensor_of(info, old)
    if (new := change(stored)) is stored:
        return old
    assert tuple(new.shape) == info.shape
    return finite_bytes(name, new.to(stored.dtype), target)
