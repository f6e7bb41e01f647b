"""The pictures themselves: small ones for the grid, and large ones as a browser can show them, whatever the file's format."""

from __future__ import annotations

import io
import threading
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from PIL import Image

from engine.datasets.decode import decode_picture, read_bytes
from engine.datasets.thumbnails import GROUND, thumbnail
from engine.jobs import actions
from webui.datasets.opened import Asked, Here, open_dataset
from webui.datasets.replies import Json

router = APIRouter()
LONGEST = 2048
"""px of the longest side of a large picture."""
QUALITY = 90
_decoding = threading.Lock()
"""One at a time: a large picture takes hundreds of MiB."""
HEADERS = {"cache-control": "private, max-age=31536000, immutable", "content-disposition": "inline"}
"""An address holds the time of the picture's last change, so what it shows never changes."""


@router.get("/thumb")
def small(dataset: str, name: str, context: Here, v: str = "") -> FileResponse:
    opened = open_dataset(dataset, context)
    return FileResponse(thumbnail(opened.picture(name), opened.workspace), media_type="image/webp", headers=HEADERS)


@router.post("/thumbs")
def all_small(asked: Asked, context: Here) -> Json:
    """Has the small pictures of the whole dataset made by the worker that looks at files."""
    job = actions.start_thumbnails(asked.dataset, context.workspace)
    context.ensure_files()
    return Json({"job": job.id})


@router.get("/picture")
def large(dataset: str, name: str, context: Here, v: str = "") -> Response:
    return shown(open_dataset(dataset, context).picture(name))


def shown(path: Path) -> Response:
    """A picture file as a browser can show it. Raises DatasetError: `picture.unreadable`, `picture.too_large`."""
    stream = io.BytesIO()
    with _decoding:
        image = decode_picture(read_bytes(path), path.name, GROUND, enough=LONGEST)
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        image.save(stream, format="WEBP", quality=QUALITY, method=1)
    return Response(stream.getvalue(), media_type="image/webp", headers=HEADERS)
