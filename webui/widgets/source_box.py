"""A picture to start from, and a mask painted over what shall change: img2img and inpaint.

What is painted comes from the browser as layers; the mask is their opacity, kept as a picture of its own in the cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageChops

from engine.datasets.decode import load_picture
from engine.workspace import Workspace, atomic_write
from webui.i18n import label

Painted = Mapping[str, Any] | None
"""What the editor holds: the paths of its `background` and its `layers`."""


def editor() -> gr.ImageEditor:
    """The component."""
    return gr.ImageEditor(
        type="filepath", format="png", label=label("generate.source.picture.label"), elem_id="generate-source",
        sources=("upload", "clipboard"), transforms=(), layers=False, height=360,
        brush=gr.Brush(default_size=48, colors=["#ffffff"], color_mode="fixed"), eraser=gr.Eraser(default_size=48),
    )  # fmt: skip


def given(painted: Painted, workspace: Workspace) -> dict[str, str]:
    """Settings of `source`: the paths of the picture and of the mask; "" for what there is not.

    Raises:
        DatasetError: what was put there is no picture.
    """
    background = (painted or {}).get("background")
    if not background:
        return {"picture": "", "mask": ""}
    picture = load_picture(Path(background))
    if _empty(background):
        return {"picture": "", "mask": ""}
    mask = _mask([Path(layer) for layer in (painted or {}).get("layers") or ()], picture.size)
    return {"picture": str(_kept(picture, workspace)), "mask": str(_kept(mask, workspace)) if mask else ""}


def held(picture: Path | str) -> dict[str, Any]:
    """What the editor is given to show a picture."""
    return {"background": str(picture), "layers": [], "composite": None}


def _empty(background: str) -> bool:
    """Whether the editor was cleared: it then holds a sheet that can be seen through."""
    with Image.open(background) as image:
        return image.mode == "RGBA" and image.getchannel("A").getextrema()[1] == 0


def _mask(layers: list[Path], size: tuple[int, int]) -> Image.Image | None:
    """White where any layer was painted on; None when none was."""
    mask = Image.new("L", size)
    for layer in layers:
        with Image.open(layer) as image:
            mask = ImageChops.lighter(mask, image.convert("RGBA").getchannel("A").resize(size))
    return mask if mask.getbbox() else None


def _kept(image: Image.Image, workspace: Workspace) -> Path:
    """The picture in the cache, named by its content: a job may wait long, and the browser's copy is swept."""
    name = hashlib.sha256(image.mode.encode() + repr(image.size).encode() + image.tobytes()).hexdigest()[:32]
    file = workspace.sources / f"{name}.png"
    if not file.exists():
        with atomic_write(file) as stream:
            image.save(stream, format="PNG")
    return file
