"""What is there to choose from, in AUTOMATIC1111's shapes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from fastapi import APIRouter

from engine import library
from engine.config.choices import SAMPLER_NAMES, SCHEDULE_NAMES, Upscaler
from engine.embedding_files import embedding_files
from engine.errors import EngineError
from engine.formats.safetensors_header import kept_header
from engine.formats.summary import SHOWN_METADATA
from engine.styles import read_styles
from webui.api.checkpoints import SHORT, listed, title
from webui.api.service import Asked

router = APIRouter()
Items = list[dict[str, Any]]
RHO = 7.0
"""Of Karras's schedule (Karras et al. 2022)."""


@router.get("/samplers")
def samplers() -> Items:
    return [{"name": name, "aliases": [], "options": {}} for name in SAMPLER_NAMES[1:]]


@router.get("/schedulers")
def schedulers() -> Items:
    return [
        {
            "name": label.lower().replace(" ", "_"),
            "label": label,
            "aliases": None,
            "default_rho": RHO if label == "Karras" else -1.0,
            "need_inner_model": False,
        }
        for label in SCHEDULE_NAMES
    ]


@router.get("/sd-models")
def sd_models(service: Asked) -> Items:
    return [
        {
            "title": title(card),
            "model_name": card.path.stem if card.name != library.STARTER else card.name,
            "hash": card.sha256[:SHORT] or None,
            "sha256": card.sha256 or None,
            "filename": str(card.path),
            "config": None,
        }
        for card in listed(service.workspace)
    ]


@router.get("/sd-vae")
def sd_vae(service: Asked) -> Items:
    return [
        {"model_name": name, "filename": str(path)} for name, path in library.part_names(service.workspace.vae_folders).items()
    ]


@router.get("/loras")
def loras(service: Asked) -> Items:
    return [
        {"name": name, "alias": alias or name, "path": str(path), "metadata": _metadata(path)}
        for name, (path, alias) in library.adapter_names(service.workspace).items()
    ]


def _metadata(file: Path) -> dict[str, str]:
    """What is written in the file, without what is too long to be shown."""
    with suppress(EngineError):
        return {name: value for name, value in kept_header(file).metadata.items() if len(value) <= SHOWN_METADATA}
    return {}


@router.get("/embeddings")
def embeddings(service: Asked) -> dict[str, Any]:
    loaded = {
        word: {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, **_sizes(file)}
        for word, file in embedding_files(service.workspace).items()
    }
    return {"loaded": loaded, "skipped": {}}


def _sizes(file: Path) -> dict[str, int | None]:
    """Width and number of the vectors; not known of a file that is no safetensors, which is read when it is used."""
    with suppress(EngineError):
        shape = next((info.shape for info in kept_header(file).tensors.values() if info.shape), ())
        if shape:
            return {"shape": shape[-1], "vectors": shape[0] if len(shape) > 1 else 1}
    return {"shape": None, "vectors": None}


@router.get("/prompt-styles")
def prompt_styles(service: Asked) -> Items:
    return [{"name": name, **style._asdict()} for name, style in read_styles(service.workspace).items()]


@router.get("/upscalers")
def upscalers() -> Items:
    """Those of pixels; the first stands for none."""
    names = ["None", *(name for name in get_args(Upscaler) if not _is_latent(name))]
    return [{"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4} for name in names]


@router.get("/latent-upscale-modes")
def latent_upscale_modes() -> Items:
    return [{"name": name} for name in get_args(Upscaler) if _is_latent(name)]


def _is_latent(upscaler: str) -> bool:
    return upscaler.startswith("Latent")


@router.get("/hypernetworks")
@router.get("/face-restorers")
@router.get("/realesrgan-models")
@router.get("/script-info")
def nothing_of_that_kind() -> Items:
    return []


@router.get("/scripts")
def scripts() -> dict[str, list[str]]:
    return {"txt2img": [], "img2img": []}


@router.get("/cmd-flags")
def cmd_flags(service: Asked) -> dict[str, Any]:
    """How the program was started, as far as a client has use for it. No password is among it."""
    workspace = service.workspace
    folders = {
        "data_dir": workspace.root,
        "ckpt_dir": workspace.checkpoint_folder,
        "lora_dir": workspace.lora_folder,
        "embeddings_dir": workspace.embedding_folder,
    }
    return {
        "api": True,
        "nowebui": False,
        "lang": service.context.forced_language,
        **{name: str(path) if path else None for name, path in folders.items()},
    }
