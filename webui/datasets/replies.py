"""What the scripts are answered: JSON that holds every file name, and errors as `{code, message, todo, values}`."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from engine.errors import EngineError
from webui.i18n import explain

ROOT = "/atelier/datasets"
CONFLICTS = ("caption.changed", "dataset.conflict")
"""Codes of a file that is not what the asker has seen."""
TOO_LARGE = ("incoming.too_much", "incoming.too_many")
"""Codes of an upload that is more than one may be."""


class Json(JSONResponse):
    """JSON in ASCII: a file name may hold bytes that are no text, which UTF-8 could not carry."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def told(error: EngineError, language: str) -> dict[str, Any]:
    said = explain(error, language)
    values = {name: value for name, value in error.values.items() if isinstance(value, str | int | float | bool | None)}
    return {
        "code": error.code,
        "message": " ".join(part for part in (said.what, said.expected) if part),
        "todo": said.todo,
        "values": values,
    }


def refused(status: int, content: dict[str, Any]) -> Json:
    return Json(content, status, {"cache-control": "no-store"})


def install(app: FastAPI) -> None:
    """Let an app answer so."""
    app.exception_handler(EngineError)(_engine_reply)
    app.exception_handler(RequestValidationError)(_field_reply)
    app.exception_handler(HTTPException)(_plain_reply)
    app.exception_handler(Exception)(_unexpected_reply)


def _language(request: Request) -> str:
    return request.app.state.context.language(request)


async def _engine_reply(request: Request, error: EngineError) -> Json:
    status = 409 if error.code in CONFLICTS else 413 if error.code in TOO_LARGE else 400
    return refused(status, told(error, _language(request)))


async def _field_reply(request: Request, error: RequestValidationError) -> Json:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    reason = first["msg"].removeprefix("Value error, ")
    what = EngineError("page.bad_request", f"{field}: {reason}.", field=field, reason=reason)
    return refused(422, told(what, _language(request)))


async def _plain_reply(request: Request, error: HTTPException) -> Json:
    what = EngineError("page.bad_request", str(error.detail), field=str(error.status_code), reason=str(error.detail))
    return refused(error.status_code, told(what, _language(request)))


async def _unexpected_reply(request: Request, error: Exception) -> Json:
    """The traceback goes to the terminal, by the server."""
    name = type(error).__name__
    what = EngineError(
        "page.unexpected", f"Something went wrong that should not ({name}).", todo="Details are in the terminal.", name=name
    )
    return refused(500, told(what, _language(request)))
