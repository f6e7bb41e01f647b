"""`options`: what holds for every request that says nothing else. Kept in `config/api.yaml` of the workspace.

Of AUTOMATIC1111's many options there are those that mean something here; `override_settings` of a request takes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ValidationError

from engine import library
from engine.config.choices import Emphasis
from engine.config.load import load, save
from engine.workspace import Workspace
from webui.api.checkpoints import VAE_OF_MODEL, card_of, checkpoint_named, title
from webui.api.refusals import several_invalid
from webui.api.service import Asked, Service

router = APIRouter()
OVERRIDES = {
    "model": "sd_model_checkpoint", "vae": "sd_vae", "clip_skip": "CLIP_stop_at_last_layers", "noise_source": "randn_source",
    "eta_noise_seed_delta": "eta_noise_seed_delta", "emphasis": "emphasis", "picture_format": "samples_format",
}  # fmt: skip
"""Field of the config -> its option."""


class Options(BaseModel):
    """By AUTOMATIC1111's names. Options that are not known are passed over."""

    sd_model_checkpoint: str = library.STARTER
    sd_vae: str = VAE_OF_MODEL
    CLIP_stop_at_last_layers: Annotated[int, Ge(1), Le(12)] = 1
    randn_source: Literal["CPU", "GPU", "NV"] = "CPU"
    eta_noise_seed_delta: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    emphasis: Emphasis = "Original"
    samples_format: Literal["png", "jpg", "jpeg", "webp"] = "png"

    def settings(self) -> dict[str, Any]:
        """As fields of the config of pictures."""
        return {
            **{path: getattr(self, name) for path, name in OVERRIDES.items()},
            "vae": "" if self.sd_vae in (VAE_OF_MODEL, "None") else self.sd_vae,
            "noise_source": "CPU" if self.randn_source == "CPU" else "NV",  # a GPU's noise, as NVIDIA cards draw it
            "picture_format": "jpeg" if self.samples_format == "jpg" else self.samples_format,
        }


@router.get("/options")
def get_options(service: Asked) -> dict[str, Any]:
    kept = kept_options(service.workspace)
    card = card_of(kept.sd_model_checkpoint, service.workspace)
    return {
        **kept.model_dump(),
        "sd_model_checkpoint": title(card) if card else kept.sd_model_checkpoint,
        "sd_checkpoint_hash": card.sha256 if card else "",
        "enable_pnginfo": True,
        "samples_save": True,
    }


@router.post("/options")
def set_options(given: dict[str, Any], service: Asked, request: Request) -> None:
    keep_options(changed(kept_options(service.workspace), given, service.workspace), service, request)


def kept_options(workspace: Workspace) -> Options:
    """Raises ConfigError: `config.unreadable`, `config.invalid`."""
    file = _file(workspace)
    return load(Options, file if file.is_file() else None)


def keep_options(options: Options, service: Service, request: Request) -> None:
    """Raises HTTPException: 403, a guest changes no settings."""
    if service.context.guest and request.user == service.context.guest:
        raise HTTPException(403, "Guests may make pictures; settings are the owner's.")
    save(options, _file(service.workspace))


def changed(options: Options, given: Mapping[str, Any], workspace: Workspace, within: str = "") -> Options:
    """Options with others in their place; the checkpoint's name is looked up.

    Args:
        within: the field of the body that they stand in.

    Raises:
        RequestValidationError: naming the option.
        ModelError, PathError: there is no such checkpoint.
    """
    told = {name: value for name, value in given.items() if value is not None}
    try:
        result = Options.model_validate({**options.model_dump(), **told})
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise several_invalid(
            [(".".join([*([within] if within else []), str(each["loc"][0])]), each["msg"]) for each in found]
        ) from None
    if "sd_model_checkpoint" in told:
        result.sd_model_checkpoint = checkpoint_named(result.sd_model_checkpoint, workspace)
    return result


def _file(workspace: Workspace) -> Path:
    return workspace.root / "config" / "api.yaml"
