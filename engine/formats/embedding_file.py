"""Reading embeddings (Textual Inversion): the vectors that stand for a word, one set for each CLIP text encoder.

Spellings in the wild: `clip_l` and `clip_g` (SDXL), one tensor under any name (`emb_params`, diffusers' `<word>`), and
AUTOMATIC1111's `string_to_param` in a pickle, which is read as weights alone. Torch is imported only when tensors are read.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import AdapterError
from engine.formats.pickled import tensors_in

if TYPE_CHECKING:
    from torch import Tensor

ENCODERS = {"clip_l", "clip_g", "t5", "t5xxl"}
PARAMETER = "string_to_param."
MAX_BYTES = 64 * 2**20
"""Nothing larger is an embedding: 75 vectors of SDXL are 0.6 MiB."""


@dataclass(frozen=True)
class EmbeddingFile:
    """An embedding in memory.

    Attributes:
        vectors: (n, D), float32, by the encoder's name in the file; "" where the file names none.
        sha256: of the whole file.
    """

    vectors: dict[str, Tensor]
    sha256: str


def read_embedding(path: Path) -> EmbeddingFile:
    """Read an embedding.

    Raises:
        AdapterError: `embedding.unreadable`.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
        content = path.read_bytes()
        tensors = _read_safetensors(content) if path.suffix.lower() == ".safetensors" else _read_pickle(content)
        return EmbeddingFile(by_encoder(tensors), hashlib.sha256(content).hexdigest())
    except Exception as error:  # the readers raise whatever a damaged or hostile file makes them stumble over
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        reason = " ".join(said.split())[:200] or type(error).__name__
        raise AdapterError(
            "embedding.unreadable", f"{path.name} cannot be read as an embedding: {reason}.", "A file made by Textual Inversion.",
            "Use its .safetensors version, or download it again.", path=path.name, reason=reason,
        ) from error  # fmt: skip


def by_encoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an embedding, or of one bundled in a LoRA, as `EmbeddingFile.vectors`.

    Raises:
        ValueError: they are no matrices of finite numbers, or nobody knows which of them it is.
    """
    import torch

    chosen = {key: tensor for key, tensor in tensors.items() if key.startswith(PARAMETER)} or dict(tensors)
    named = bool(chosen) and set(chosen) <= ENCODERS
    if not named and len(chosen) != 1:
        raise ValueError(f"it holds {len(chosen)} tensors")
    vectors = {key if named else "": tensor.detach().float() for key, tensor in chosen.items()}
    vectors = {key: tensor[None] if tensor.dim() == 1 else tensor for key, tensor in vectors.items()}
    if any(tensor.dim() != 2 or not tensor.numel() or not torch.isfinite(tensor).all() for tensor in vectors.values()):
        raise ValueError("it holds no vectors of finite numbers")
    if len({len(tensor) for tensor in vectors.values()}) > 1:
        raise ValueError("its encoders have different numbers of vectors")
    return vectors


def _read_safetensors(content: bytes) -> dict[str, Tensor]:
    from safetensors.torch import load

    return load(content)


def _read_pickle(content: bytes) -> dict[str, Tensor]:
    import torch

    return tensors_in(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
