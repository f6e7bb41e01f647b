"""What a file is that was taken for a base model and is none: each by its name, with where it belongs. No torch."""

from __future__ import annotations

import re
from pathlib import Path

from engine.errors import ModelError
from engine.formats.kinds import detect_kind
from engine.formats.models import MODELS
from engine.formats.safetensors_header import Header

NETWORKS = {
    "clip": "text encoder (CLIP)", "clip_projected": "text encoder (CLIP)", "t5": "text encoder (T5)",
    "qwen3": "text encoder (Qwen3)", "vae": "VAE",
}  # fmt: skip
"""Kind of a network that people have as a file of its own -> what they call it."""
_FOLDER_PART = re.compile(
    r"(transformer\.|unet\.)?(transformer_blocks|single_transformer_blocks|down_blocks|mid_block|all_x_embedder)\..+"
)
"""Names that diffusers gives the layers of a denoiser."""


def network_in(header: Header) -> str:
    """The first network whose mark is among a file's keys, behind whatever prefix; "" when nothing tells."""
    for model in MODELS.values():
        for part in model.parts.values():
            mark = re.compile(r"(.*\.)?" + part.mark)
            if any(mark.fullmatch(key) for key in header.tensors):
                return NETWORKS.get(part.kind, part.title)
    return ""


def is_folder_part(header: Header) -> bool:
    """Whether a file has a denoiser under the names of diffusers."""
    return any(_FOLDER_PART.fullmatch(key) for key in header.tensors)


def mistaken(path: Path, header: Header) -> ModelError:
    """Why a file that holds no denoiser in a known layout is no base model."""
    kind = detect_kind(header)
    network = network_in(header) if kind in ("vae", "unknown") else ""
    if kind == "adapter":
        return ModelError(
            "model.is_adapter", f"{path.name} is a LoRA, not a base model.", "A checkpoint was expected.",
            "Put it into the LoRA folder and use it in a prompt: <lora:name:0.8>.", path=path.name,
        )  # fmt: skip
    if kind == "embedding":
        return ModelError(
            "model.is_embedding", f"{path.name} is an embedding (textual inversion), not a base model.", "A checkpoint was expected.",
            "Put it into models/embeddings of the data folder.", path=path.name,
        )  # fmt: skip
    if is_folder_part(header):
        return ModelError(
            "model.is_folder_part", f"{path.name} is one part of a diffusers model, with the names it has there.",
            "The whole folder, or a checkpoint in one file.", "Choose the folder with model_index.json, or download the single file.",
            path=path.name,
        )  # fmt: skip
    if network == "VAE":
        return ModelError(
            "model.is_vae", f"{path.name} is a VAE, not a whole base model.", "A checkpoint was expected.",
            "Put it into models/vae of the data folder and choose it as the VAE.", path=path.name,
        )  # fmt: skip
    if network.startswith("text encoder"):
        return ModelError(
            "model.is_text_encoder", f"{path.name} is a {network}, not a whole base model.", "A checkpoint was expected.",
            "Put it into models/text_encoders of the data folder, where models without one find it.", path=path.name, network=network,
        )  # fmt: skip
    return ModelError(
        "model.not_a_checkpoint", f"{path.name} holds no image model ({kind}).", "A checkpoint was expected.",
        "Choose another file.", path=path.name, kind=kind,
    )  # fmt: skip


def unknown_family(path: Path, reason: str = "") -> ModelError:
    """An image model, but none of ours: `reason` says in what it differs from the one that it resembles."""
    titles = ", ".join(model.title for model in MODELS.values())
    return ModelError(
        "model.unknown_family", f"{path.name} is an image model of a family that is not known here{f': {reason}' if reason else ''}.",
        f"One of: {titles}.", "Choose another model.", path=path.name, reason=reason, families=titles,
    )  # fmt: skip
