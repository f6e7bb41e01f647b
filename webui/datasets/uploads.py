"""Files on their way into a dataset: begun, sent one by one as raw streams, and finished or cancelled as a whole.

An upload lives as long as this process, and an hour after its last sign of life at most: a page that was closed leaves nothing.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from anyio import from_thread
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect

from engine.datasets.captions import CAPTION_EXTENSIONS
from engine.datasets.incoming.intake import Intake
from engine.datasets.incoming.names import METADATA, PICTURES
from engine.datasets.incoming.placing import Clash
from engine.errors import DatasetError
from webui.datasets.opened import Asked, Here, Opened, open_dataset
from webui.datasets.replies import Json
from webui.datasets.reports import told_report

router = APIRouter(default_response_class=Json)
IDLE_SECONDS = 3600
ENDINGS = [*PICTURES, *CAPTION_EXTENSIONS, *METADATA, ".zip", "dataset.yaml"]
"""How the names of files that may come in end. Of others the name alone needs to be sent: the report says why they stay outside."""


@dataclass
class Upload:
    opened: Opened
    intake: Intake
    seen: float = field(default_factory=time.monotonic)


class Uploads:
    """Those under way in this process, by id."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._under_way: dict[str, Upload] = {}

    def begin(self, opened: Opened) -> str:
        """Raises DatasetError: `dataset.read_only`."""
        self._forget_idle()
        id, upload = secrets.token_hex(16), Upload(opened, Intake(opened.workspace, opened.folder))
        with self._guard:
            self._under_way[id] = upload
        return id

    def get(self, id: str) -> Upload:
        """Raises DatasetError: `incoming.ended`."""
        with self._guard:
            upload = self._under_way.get(id)
        if upload is None:
            raise _ended()
        upload.seen = time.monotonic()
        return upload

    def end(self, id: str) -> Upload:
        """Take it off the list: only one can end it. Raises DatasetError: `incoming.ended`."""
        with self._guard:
            upload = self._under_way.pop(id, None)
        if upload is None:
            raise _ended()
        return upload

    def _forget_idle(self) -> None:
        with self._guard:
            idle = [id for id, upload in self._under_way.items() if time.monotonic() - upload.seen > IDLE_SECONDS]
            gone = [self._under_way.pop(id) for id in idle]
        for upload in gone:
            upload.intake.cancel()


def _ended() -> DatasetError:
    return DatasetError("incoming.ended", "This upload has ended.", todo="Begin a new one.")


def _uploads(request: Request) -> Uploads:
    return request.app.state.uploads


Running = Annotated[Uploads, Depends(_uploads)]


class Finish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    clash: Clash = "keep_both"


@router.post("/uploads")
def begin(asked: Asked, context: Here, uploads: Running) -> dict[str, Any]:
    return {"upload": uploads.begin(open_dataset(asked.dataset, context)), "endings": ENDINGS}


@router.put("/uploads/{id}")
def send(id: str, name: str, request: Request, uploads: Running) -> dict[str, Any]:
    """One file; the body is its bytes."""
    upload, body = uploads.get(id), chunks(request)
    upload.intake.receive(name, body)
    return _received(upload, body)


@router.put("/uploads/{id}/archive")
def send_archive(id: str, name: str, request: Request, uploads: Running) -> dict[str, Any]:
    """A .zip; it comes in whole or is refused."""
    upload, body = uploads.get(id), chunks(request)
    upload.intake.receive_archive(name, body)
    return _received(upload, body)


@router.post("/uploads/{id}")
def finish(id: str, asked: Finish, request: Request, context: Here, uploads: Running) -> dict[str, Any]:
    upload = uploads.end(id)
    try:
        report = upload.intake.finish(asked.clash)
    except BaseException:
        upload.intake.cancel()
        raise
    upload.opened.album.refresh()
    return {**told_report(report, context.language(request)), "history": upload.opened.history()}


@router.delete("/uploads/{id}")
def cancel(id: str, uploads: Running) -> dict[str, Any]:
    uploads.end(id).intake.cancel()
    return {}


def chunks(request: Request) -> Iterator[bytes]:
    """The body of a request, for a thread, as it comes. A sender who goes away in the middle ends it with an error."""
    stream = request.stream()
    while True:
        try:
            chunk = from_thread.run(_next, stream)
        except ClientDisconnect:
            raise DatasetError("incoming.broken_off", "The sender broke off.", todo="Send the file again.") from None
        if chunk is None:
            return
        yield chunk


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    return await anext(stream, None)


def _received(upload: Upload, body: Iterator[bytes]) -> dict[str, Any]:
    """Read what the intake did not want, so that the sender hears the answer."""
    for _ in body:
        upload.seen = time.monotonic()
    return {}
