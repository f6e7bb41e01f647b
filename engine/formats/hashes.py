"""Hashes by which other programs know a file. Standard library only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.errors import ModelError
from engine.formats.safetensors_header import read_header

_WEIGHT_FOLDERS = ("unet", "transformer")


@dataclass(frozen=True)
class ModelHashes:
    """A checkpoint's hashes in hexadecimal.

    Attributes:
        old: `ss_sd_model_hash`, first 8 digits of the SHA-256 of bytes 0x100000 to 0x10FFFF.
        sha256: of the whole file; its first 10 digits are AUTOMATIC1111's `Model hash`.
    """

    old: str
    sha256: str

    @property
    def short(self) -> str:
        return self.sha256[:10]


def model_hashes(path: Path | str) -> ModelHashes:
    """Hashes of a single-file checkpoint, or of the main weight file of a diffusers folder.

    Remembered by path, size and modification time: hashing 4 GB takes many seconds.

    Raises:
        ModelError: `file.missing` when there is no such file, or no weight file in the folder.
    """
    path = Path(path)
    if path.is_dir():
        found = [
            file for folder in _WEIGHT_FOLDERS for file in sorted((path / folder).glob("diffusion_pytorch_model*.safetensors"))
        ]
        # The full-precision file is preferred, so that downloading an extra variant does not change the hash.
        path = min(found, key=lambda file: (len(file.name), file.name)) if found else path
    if not path.is_file():
        raise ModelError(
            "file.missing", f"There is no weight file at {path.name}.", "A checkpoint was expected.", "Check the path.", path=path
        )
    status = path.stat()
    return _hash_file(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_file(path: Path, size: int, mtime_ns: int) -> ModelHashes:
    with path.open("rb") as stream:
        stream.seek(0x100000)
        old = hashlib.sha256(stream.read(0x10000)).hexdigest()[:8]
        stream.seek(0)
        return ModelHashes(old, hashlib.file_digest(stream, "sha256").hexdigest())


def adapter_hash(path: Path | str) -> str:
    """SHA-256 of a safetensors file's tensor payload; its first 12 digits stand in `Lora hashes`.

    Remembered by path, size and modification time.

    Raises:
        ModelError: codes `file.*`.
    """
    path = Path(path)
    header = read_header(path)
    status = path.stat()
    return _hash_payload(path, header.payload_offset, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _hash_payload(path: Path, offset: int, size: int, mtime_ns: int) -> str:
    with path.open("rb") as stream:
        stream.seek(offset)
        return hashlib.file_digest(stream, "sha256").hexdigest()
