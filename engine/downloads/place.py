"""Where a downloaded file belongs, and under which name: its header decides, never what a server calls it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.downloads.source import ENDING
from engine.errors import DownloadError
from engine.formats.kinds import detect_kind, recognise
from engine.formats.models import MODELS
from engine.formats.safetensors_header import Header
from engine.workspace import DEVICES, FORBIDDEN, INVISIBLE, NAME_BYTES, Workspace, check_name

ThingKind = Literal["checkpoint", "adapter", "vae", "embedding", "text_encoder"]
TEXT_NETWORKS = ("clip", "clip_projected", "t5", "qwen3")


@dataclass(frozen=True)
class Place:
    """Attributes:
    family: key of `engine.formats.models.MODELS` of a checkpoint, else "".
    """

    kind: ThingKind
    family: str
    folder: Path


def place_for(header: Header, name: str, workspace: Workspace) -> Place:
    """The folder for a file with this header.

    Raises:
        DownloadError: `download.useless`: it is nothing that is used here.
    """
    kind = detect_kind(header)
    if kind == "unknown":
        if not _is_text_encoder(header):
            raise DownloadError(
                "download.useless", f"{name} is no model, LoRA, VAE, text encoder or embedding that is known here.",
                "A whole model or one of these.", "For one part of a diffusers model fetch the whole model: owner/name.", name=name,
            )  # fmt: skip
        return Place("text_encoder", "", workspace.text_encoder_folders[0])
    folders = {
        "checkpoint": workspace.checkpoint_folders[0], "adapter": workspace.loras, "vae": workspace.vae_folders[0],
        "embedding": workspace.embedding_folders[0],
    }  # fmt: skip
    return Place(kind, (recognise(header) or "") if kind == "checkpoint" else "", folders[kind])


def _is_text_encoder(header: Header) -> bool:
    marks = {part.mark for model in MODELS.values() for part in model.parts.values() if part.kind in TEXT_NETWORKS}
    patterns = [re.compile(r"(.*\.)?" + mark) for mark in sorted(marks)]
    return any(pattern.fullmatch(key) for key in header.tensors for pattern in patterns)


def local_name(name: str) -> str:
    """A server's name for a file or a model as one that is safe on every system and in a tag."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    name = FORBIDDEN.sub("_", "".join(letter for letter in name if unicodedata.category(letter) not in INVISIBLE)).strip()
    ending = ENDING if name.lower().endswith(ENDING) else ""
    stem = name[: len(name) - len(ending)].lstrip(".- ")
    if not stem or DEVICES.fullmatch(stem):
        stem = f"model-{stem}".rstrip("-")
    stem = stem.encode()[: NAME_BYTES - len(ending)].decode(errors="ignore").rstrip(". ") or "model"
    return check_name(stem + ending)
