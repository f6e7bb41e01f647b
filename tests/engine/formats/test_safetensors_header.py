"""A header is believed only when all of it is true, and a hostile one costs little."""

from __future__ import annotations

import json
import pickle
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import ModelError
from engine.formats.safetensors_header import MAX_HEADER, read_header

ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def write_raw(path: Path, header: bytes | dict, payload: bytes = b"\0" * 24, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + payload)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert path.name in caught.value.what
    return caught.value.code


def test_reads_what_the_library_writes(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6, dtype=torch.float16).reshape(2, 3), "a": torch.tensor(1.5), "empty": torch.zeros(0, 4)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"ss_v2": "False", "name": "五"})
    header = read_header(tmp_path / "x.safetensors")
    assert header.metadata == {"ss_v2": "False", "name": "五"}
    assert {name: info.shape for name, info in header.tensors.items()} == {"b": (2, 3), "a": (), "empty": (0, 4)}
    info = header.tensors["b"]
    content = (tmp_path / "x.safetensors").read_bytes()[header.payload_offset :][info.start : info.end]
    assert torch.frombuffer(bytearray(content), dtype=torch.float16).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("header", "payload", "code"),
    [
        ({"a": ENTRY}, b"\0" * 23, "file.truncated"),
        ({"a": ENTRY}, b"\0" * 25, "file.bad_offsets"),
        ({"a": {**ENTRY, "data_offsets": [0, 2**40]}}, b"\0" * 24, "file.bad_offsets"),
        ({"a": ENTRY, "b": ENTRY}, b"\0" * 24, "file.bad_offsets"),
        ({"a": {**ENTRY, "data_offsets": [8, 32]}}, b"\0" * 32, "file.bad_offsets"),
        ({"a": {**ENTRY, "shape": [2**40, 2**40]}}, b"\0" * 24, "file.bad_offsets"),
        ({"a": {**ENTRY, "shape": [-2, -3]}}, b"\0" * 24, "file.bad_header"),
        ({"a": {**ENTRY, "shape": [2.0, 3]}}, b"\0" * 24, "file.bad_header"),
        ({"a": {**ENTRY, "dtype": "F31"}}, b"\0" * 24, "file.bad_header"),
        ({"a": {**ENTRY, "data_offsets": [0]}}, b"\0" * 24, "file.bad_header"),
        ({"a": "x"}, b"", "file.bad_header"),
        ({"__metadata__": {"x": 1}, "a": ENTRY}, b"\0" * 24, "file.bad_header"),
        ({"__metadata__": [], "a": ENTRY}, b"\0" * 23, "file.truncated"),
        (b'{"a": ' + json.dumps(ENTRY).encode() + b', "a": ' + json.dumps(ENTRY).encode() + b"}", b"\0" * 24, "file.bad_header"),
        (b"{" + b"[" * 200_000, b"", "file.bad_header"),
        (b'{"a": "\xff"}', b"", "file.bad_header"),
        (b"{not json", b"", "file.bad_header"),
    ],
)
def test_refuses_untrue_headers(tmp_path: Path, header: bytes | dict, payload: bytes, code: str) -> None:
    assert refused(write_raw(tmp_path / "x.safetensors", header, payload)) == code


@pytest.mark.parametrize(
    ("content", "code", "named"),
    [
        (b"", "file.truncated", ""),
        (b"\x10\0\0", "file.truncated", ""),
        ((100).to_bytes(8, "little") + b'{"a":', "file.truncated", ""),
        (pickle.dumps({"a": list(range(100))}), "file.not_safetensors", "pickle"),
        (b"PK\x03\x04" + b"\0" * 100, "file.not_safetensors", ".ckpt"),
        (b"<!DOCTYPE html><html>Sign in" + b" " * 100, "file.not_safetensors", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "file.not_safetensors", "LFS"),
        (b"\x7fELF" + b"\0" * 100, "file.not_safetensors", "first bytes"),
        (b"\xff" * 64, "file.not_safetensors", ""),
        ((2**63).to_bytes(8, "little") + b"{}" + b" " * 100, "file.header_too_large", ""),
        ((101 * 2**20).to_bytes(8, "little") + b"{}" + b" " * 100, "file.header_too_large", ""),
    ],
)
def test_names_what_else_a_file_is(tmp_path: Path, content: bytes, code: str, named: str) -> None:
    path = tmp_path / "download.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert caught.value.code == code
    assert named in caught.value.what


def test_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.safetensors") == "file.missing"
    assert refused(tmp_path) == "file.missing"


@pytest.mark.parametrize(
    "header",
    [
        b'{"__metadata__": {"x": "' + b"y" * (MAX_HEADER + 1) + b'"}}',
        b"{" + b",".join(b'"%d":{"dtype":"F32","shape":[],"data_offsets":[0,0]}' % i for i in range(400_000)) + b"}",
        b'{"a": [' + b",".join([b"[]"] * 9_000_000) + b"]}",
    ],
    ids=["metadata", "tensors", "arrays"],
)
def test_a_hostile_header_costs_little(tmp_path: Path, header: bytes) -> None:
    path = write_raw(tmp_path / "x.safetensors", header, b"")
    tracemalloc.start()
    started = time.perf_counter()
    assert refused(path) in ("file.header_too_large", "file.bad_header")
    assert time.perf_counter() - started < 1
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    tracemalloc.stop()
