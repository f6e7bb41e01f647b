"""Reading an adapter file to its last byte, to be sure that it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.formats.adapter_file import read_adapter
from engine.formats.hashes import adapter_hash


@dataclass(frozen=True)
class Verified:
    """What was found in a file that can be read.

    Attributes:
        modules, tensors, embeddings: how many there are; tensors are those of the modules.
        hash: SHA-256 of the tensors, in hexadecimal.
        unchanged: whether that is what the file says of itself; None when it says nothing. Some tools change the tensors and
            leave the old hash.
    """

    modules: int
    tensors: int
    embeddings: int
    hash: str
    unchanged: bool | None


def verify(path: Path | str) -> Verified:
    """Read a `.safetensors` adapter whole: header, every tensor, every number finite, modules complete, hash.

    Raises:
        ModelError, AdapterError: as `read_adapter`.
    """
    path = Path(path)
    file = read_adapter(path)
    found, said = adapter_hash(path), file.metadata.get("sshs_model_hash")
    tensors = sum(len(parts) for parts in file.modules.values())
    return Verified(len(file.modules), tensors, len(file.embeddings), found, found == said if said else None)
