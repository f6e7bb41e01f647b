"""The mask of a picture as a PNG: read, painted anew, taken away."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from engine.datasets.masks import mask_file, save_mask
from webui.datasets.opened import Here, Opened, open_dataset
from webui.datasets.replies import Json

router = APIRouter(default_response_class=Json)
Png = Annotated[bytes, Body(media_type="image/png")]


@router.get("/mask")
def mask(dataset: str, name: str, context: Here) -> Response:
    """204 where everything is learnt."""
    opened = open_dataset(dataset, context)
    opened.picture(name)
    file = mask_file(opened.folder, name)
    if not file.is_file():
        return Response(status_code=204, headers={"cache-control": "no-store"})
    return Response(file.read_bytes(), media_type="image/png", headers={"cache-control": "no-store"})


@router.put("/mask")
def paint(dataset: str, name: str, png: Png, context: Here) -> dict[str, Any]:
    return _saved(open_dataset(dataset, context), name, png)


@router.delete("/mask")
def remove(dataset: str, name: str, context: Here) -> dict[str, Any]:
    return _saved(open_dataset(dataset, context), name, None)


def _saved(opened: Opened, name: str, png: bytes | None) -> dict[str, Any]:
    opened.picture(name)
    save_mask(opened.journal, name, png)
    return opened.changed([name])
