"""The header of a `.safetensors` file, read and checked without touching the tensors.

Layout: 8 bytes little-endian header length, a JSON header, the tensor payload. A header is checked completely before it
is believed: files come from strangers. Standard library only, so that the page can read hundreds of files quickly. Knows
nothing of what the tensors mean.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

from engine.errors import ModelError
from engine.workspace import stamp

MAX_HEADER = 32 * 2**20
"""Bytes. The largest honest headers (thousands of tensors, cover pictures inside the metadata) have a few MiB."""
MAX_TENSORS = 100_000
MAX_BRACKETS = 1_000_000
"""Arrays and objects in the JSON text; bounds the memory that parsing it can take."""

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip

_OTHER_CONTENT = (
    (b"PK\x03\x04", "a zip archive or a PyTorch .ckpt/.pt file"),
    (b"\x80", "a Python pickle (.ckpt/.pt)"),
    (b"<", "a web page (the download returned a page, not the file)"),
    (b"version https://git-lfs", "a Git LFS pointer (the real file was not downloaded)"),
    (b"{", "a JSON text"),
    (b"GGUF", "a GGUF file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: dtype as written ("F16"), shape, and its byte range [start, end) in the payload."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """A checked header.

    Attributes:
        metadata: the `__metadata__` strings, empty when absent.
        tensors: by name, in file order.
        payload_offset: byte where the tensor payload begins.
    """

    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]
    payload_offset: int


def read_header(path: Path | str) -> Header:
    """Read and check the header.

    Raises:
        ModelError: `file.missing`, `file.truncated`, `file.not_safetensors`, `file.header_too_large`, `file.bad_header`,
            `file.bad_offsets`.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            return read_beginning(path, stream.read, os.fstat(stream.fileno()).st_size)
    except OSError as error:
        raise ModelError(
            "file.missing",
            f"{path.name} cannot be opened: {error.strerror}.",
            "A readable file was expected.",
            "Check the path.",
            path=path,
        ) from error


def read_beginning(path: Path, read: Callable[[int], bytes], size: int) -> Header:
    """Read and check the header of a file of which only the beginning needs to be there.

    Args:
        path: names the file in errors.
        read: gives the next bytes of the file, from its first on.
        size: of the whole file, bytes.

    Raises:
        ModelError: as `read_header`.
    """
    prefix = read(64)
    length = _header_length(path, prefix, size)
    raw = prefix[8 : 8 + length] + read(max(0, length - len(prefix[8:])))
    metadata, tensors = _parse(path, raw)
    _check_offsets(path, tensors, size - 8 - length)
    return Header(metadata, tensors, 8 + length)


def kept_header(path: Path) -> Header:
    """The same, read only if it is not one of the last or the file has changed. Raises the same."""
    return _kept(path, *stamp(path))


@lru_cache(maxsize=16)
def _kept(path: Path, size: int, mtime_ns: int) -> Header:
    return read_header(path)


def _header_length(path: Path, prefix: bytes, size: int) -> int:
    # A pickle or a web page read as a length gives an absurd number, so its first bytes are named before the length is judged.
    length = int.from_bytes(prefix[:8], "little")
    looks_right = prefix[8:9] == b"{"
    if not looks_right:
        for magic, name in _OTHER_CONTENT:
            if prefix.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic):
                raise _not_safetensors(path, f"it is {name}")
    if size < 8 or (looks_right and length <= MAX_HEADER and length > size - 8):
        raise _truncated(path, size)
    if not looks_right:
        raise _not_safetensors(path, "its first bytes are not a safetensors header")
    if length > MAX_HEADER:
        raise ModelError(
            "file.header_too_large",
            f"{path.name} says its header has {length} bytes.",
            f"At most {MAX_HEADER} were expected.",
            "The file is damaged or hostile; download it again from its source.",
            path=path,
            length=length,
        )
    return length


def _parse(path: Path, raw: bytes) -> tuple[dict[str, str], dict[str, TensorInfo]]:
    tensor_count = raw.count(b'"data_offsets"')
    if tensor_count > MAX_TENSORS:
        raise _bad_header(path, f"it lists {tensor_count} tensors; at most {MAX_TENSORS} are read")
    if raw.count(b"[") + raw.count(b"{") > MAX_BRACKETS:
        raise _bad_header(path, f"it has more than {MAX_BRACKETS} brackets")
    try:
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _bad_header(path, str(error)[:200]) from error
    if not isinstance(content, dict):
        raise _bad_header(path, "it is not a JSON object")
    metadata = content.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _bad_header(path, "its metadata is not a table of strings")
    return metadata, {name: _tensor_info(path, name, entry) for name, entry in content.items()}


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands in it twice")
    return table


def _tensor_info(path: Path, name: str, entry: object) -> TensorInfo:
    # Plain checks rather than a match statement: a folder of adapters has tens of thousands of these.
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]  # type: ignore[index]
        sizes = all(type(number) is int and 0 <= number < 2**63 for number in (start, end, *shape))
        well_formed = sizes and dtype in DTYPE_BITS and type(shape) is list and len(shape) <= 32
        if not well_formed:
            raise ValueError
    except (TypeError, KeyError, ValueError):
        raise _bad_header(path, f"the entry of tensor {name[:100]!r} is malformed") from None
    if prod(shape) * DTYPE_BITS[dtype] != (end - start) * 8:
        raise ModelError(
            "file.bad_offsets",
            f"Tensor {name[:100]!r} in {path.name} has shape {shape} in {dtype} but {end - start} bytes.",
            "Shape and bytes must agree.",
            "The file is damaged; download or save it again.",
            path=path,
            tensor=name,
        )
    return TensorInfo(dtype, tuple(shape), start, end)


def _check_offsets(path: Path, tensors: dict[str, TensorInfo], payload: int) -> None:
    """The byte ranges must tile the payload: no overlap, no hole, nothing after the last."""
    position = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != position:
            raise ModelError(
                "file.bad_offsets",
                f"Tensor {name[:100]!r} in {path.name} begins at byte {info.start}.",
                f"Byte {position} was expected.",
                "The file is damaged; download or save it again.",
                path=path,
                tensor=name,
            )
        position = info.end
    if position > payload:
        raise _truncated(path, payload, position)
    if position < payload:
        raise ModelError(
            "file.bad_offsets",
            f"{path.name} has {payload - position} bytes that belong to no tensor.",
            "None were expected.",
            "The file is damaged; download or save it again.",
            path=path,
        )


def _truncated(path: Path, size: int, wanted: int | None = None) -> ModelError:
    expected = f"Its header promises {wanted} bytes of tensors." if wanted else "It ends inside its header."
    return ModelError(
        "file.truncated",
        f"{path.name} ends too early, after {size} bytes.",
        expected,
        "Download or save it again.",
        path=path,
        size=size,
    )


def _not_safetensors(path: Path, reason: str) -> ModelError:
    return ModelError(
        "file.not_safetensors",
        f"{path.name} is not a safetensors file: {reason}.",
        "A .safetensors file was expected.",
        "Download the .safetensors version, or convert it with the program that made it.",
        path=path,
        reason=reason,
    )


def _bad_header(path: Path, reason: str) -> ModelError:
    return ModelError(
        "file.bad_header",
        f"The header of {path.name} cannot be read: {reason}.",
        "A valid safetensors header was expected.",
        "The file is damaged; download or save it again.",
        path=path,
        reason=reason,
    )
