"""Writing adapter files with the two hashes by which Kohya's trainer and AUTOMATIC1111 know them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import AdapterError
from engine.formats.adapter_file import find_not_finite
from engine.formats.safetensors_writer import arrange, described, header_bytes, tensor_payload, write_safetensors

if TYPE_CHECKING:
    from torch import Tensor

LEGACY_RANGE = (0x100000, 0x110000)
"""The byte range that the old model hash covers."""


def write_adapter(path: Path | str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write an adapter whole or not at all, then read it back and compare every bit.

    `sshs_model_hash` and `sshs_legacy_hash` are added to the metadata. Equal tensors and metadata make equal files.

    Args:
        tensors: by full name on disk (`lora_unet_mid_block_attentions_0_proj_in.lora_down.weight`), on any device.
        metadata: `ss_*` and `modelspec.*` strings.

    Raises:
        AdapterError: `adapter.not_finite` before anything is written.
        ModelError: `file.write_failed` when the file does not read back as written.
    """
    path = Path(path)
    if broken := find_not_finite(tensors):
        raise AdapterError(
            "adapter.not_finite",
            f"Tensor {broken!r} holds NaN or infinity; {path.name} was not written.",
            "Finite numbers were expected.",
            "The training diverged: lower the learning rate or go back to an earlier checkpoint.",
            path=path,
            tensor=broken,
        )
    write_safetensors(path, tensors, metadata | kohya_hashes(tensors, metadata))


def kohya_hashes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> dict[str, str]:
    """Kohya's two hashes, of the file as it would be with the `ss_*` metadata only.

    `sshs_model_hash` is the SHA-256 of the payload, which metadata does not touch; `sshs_legacy_hash` covers file bytes
    0x100000 to 0x10FFFF, so a file under 1 MiB always gets `e3b0c442`, the hash of nothing.
    """
    model, legacy = hashlib.sha256(), hashlib.sha256()
    told = {name: value for name, value in metadata.items() if name.startswith("ss_")}
    position = len(header_bytes(arrange(described(tensors)), told))
    first, last = LEGACY_RANGE
    for part in tensor_payload(tensors):
        model.update(part)
        legacy.update(part[max(0, first - position) : max(0, last - position)])
        position += len(part)
    return {"sshs_model_hash": model.hexdigest(), "sshs_legacy_hash": legacy.hexdigest()[:8]}
