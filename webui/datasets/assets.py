"""The scripts and the style of the room, and its words in the visitor's language."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from engine.workspace import safe_join
from webui.datasets.opened import Here
from webui.datasets.replies import Json
from webui.i18n import browser_table, table

router = APIRouter()
FOLDER = Path(__file__).parent.parent / "assets" / "datasets"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
ROOM = "text.dataset."
"""Where the locales keep the room's words; the scripts say `dataset.` alone."""
FIELDS = "dataset."


@router.get("/assets/{file}")
def asset(file: str) -> FileResponse:
    """Asked for anew each time, and answered with "not modified" while it is the same: a new version of the program is seen at once."""
    path = safe_join(FOLDER, file)
    if path.suffix not in TYPES or not path.is_file():
        raise HTTPException(404, f"There is no {file!r}.")
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})


@router.get("/words")
def words(request: Request, context: Here) -> Json:
    language = context.language(request)
    labels = {key: text for key, text in browser_table(language).items() if key.startswith(FIELDS)}
    room = {key.removeprefix("text."): text for key, text in table(language).items() if key.startswith(ROOM)}
    return Json({**labels, **room}, headers={"cache-control": "no-cache", "content-language": language})
