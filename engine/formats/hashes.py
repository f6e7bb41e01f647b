"""Hashes by which other programs know a file. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ModelError
from engine.formats.safetensors_header import read_header
from engine.workspace import stamp

if TYPE_CHECKING:
    from engine.file_notes import FileNotes

NOTE = "hashes"
"""Kind of the notes: both hashes, the old one first."""
OLD = range(0x100000, 0x110000)
"""Bytes that the old hash is of."""
PIECE = 8 * 2**20
"""Bytes read at once where somebody waits for a turn."""
_WEIGHT_FOLDERS = ("unet", "transformer")
_remembered: dict[tuple[Path, int, int], ModelHashes] = {}
"""What this process has learnt: path, size, modification time -> hashes."""


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


def model_hashes(path: Path | str, notes: FileNotes | None = None) -> ModelHashes:
    """Hashes of a single-file checkpoint, or of the main weight file of a diffusers folder.

    Remembered by path, size and modification time, in the notes too: hashing 4 GB takes many seconds.

    Raises:
        ModelError: `file.missing` when there is no such file, or no weight file in the folder.
    """
    file = hashed_file(Path(path))
    key = (file, *stamp(file))
    if key not in _remembered:
        known = known_hashes([file], notes) if notes else {}
        _remembered[key] = known.get(file) or _hash_file(file)
        if notes and not known and stamp(file) == key[1:]:
            notes.write(NOTE, file, f"{_remembered[key].old} {_remembered[key].sha256}", key[1:])
    return _remembered[key]


def hashed_file(path: Path) -> Path:
    """The file whose hash stands for a model.

    Raises:
        ModelError: `file.missing`.
    """
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
    return path


def known_hashes(paths: Iterable[Path], notes: FileNotes) -> dict[Path, ModelHashes]:
    """The hashes of those models that are in the notes; nothing is read but these."""
    files = {}
    for path in paths:
        with suppress(ModelError):
            files[path] = hashed_file(path)
    kept = notes.read_all(NOTE, list(files.values()))
    return {path: ModelHashes(*kept[file].split()) for path, file in files.items() if file in kept}


def hash_in_pieces(file: Path, notes: FileNotes) -> Iterator[None]:
    """Hash a file bit by bit into the notes, for whoever has time now and then. Of a file that changes meanwhile nothing is noted."""
    seen, digest, old = stamp(file), hashlib.sha256(), hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            start = stream.tell() - len(piece)
            old.update(piece[max(0, OLD.start - start) : max(0, OLD.stop - start)])
            digest.update(piece)
            yield
    if stamp(file) == seen:
        notes.write(NOTE, file, f"{old.hexdigest()[:8]} {digest.hexdigest()}", seen)


def _hash_file(path: Path) -> ModelHashes:
    with path.open("rb") as stream:
        stream.seek(OLD.start)
        old = hashlib.sha256(stream.read(OLD.stop - OLD.start)).hexdigest()[:8]
        stream.seek(0)
        return ModelHashes(old, hashlib.file_digest(stream, "sha256").hexdigest())


def adapter_hash(path: Path | str) -> str:
    """SHA-256 of a safetensors file's tensor payload, or of all of a pickle; its first 12 digits stand in `Lora hashes`.

    Remembered by path, size and modification time.

    Raises:
        ModelError: codes `file.*`.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        return _hash_payload(path, read_header(path).payload_offset, *stamp(path))
    return _hash_payload(hashed_file(path), 0, *stamp(path))


@lru_cache(maxsize=1024)
def _hash_payload(path: Path, offset: int, size: int, mtime_ns: int) -> str:
    return payload_hash(path, offset)


def payload_hash(path: Path, offset: int) -> str:
    """SHA-256 of everything behind the header, read now."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return hashlib.file_digest(stream, "sha256").hexdigest()
