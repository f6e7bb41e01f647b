"""What a caller is told when something is wrong, in the shapes of FastAPI and of AUTOMATIC1111.

422 {"detail": [{"loc": ["body", "steps"], "msg": ..., "type": ...}]}      a field of the request
400 {"error": code, "detail": sentence, "body": "", "errors": what to do}  anything else that was asked wrong
500 the same                                                               it went wrong here
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from engine.errors import EngineError

OURS = ("disk", "jobs", "page", "unexpected", "worker")
"""Where errors come from that no other request would have avoided: the first word of their codes."""


def invalid(field: str, message: str) -> RequestValidationError:
    """The error for one field of the body; the parts of its path are separated by dots."""
    return several_invalid([(field, message)])


def several_invalid(problems: list[tuple[str, str]]) -> RequestValidationError:
    """The same for several (field, message)."""
    return RequestValidationError(
        [{"type": "value_error", "loc": ("body", *field.split(".")), "msg": message} for field, message in problems]
    )


def install(app: FastAPI) -> None:
    """Let an API answer so."""
    app.exception_handler(RequestValidationError)(_field_reply)
    app.exception_handler(EngineError)(_engine_reply)
    app.exception_handler(Exception)(_unexpected_reply)


async def _field_reply(request: Request, error: RequestValidationError) -> JSONResponse:
    """Without the value, which may be a picture of many megabytes, or a number that JSON has no word for."""
    return JSONResponse({"detail": [{name: each[name] for name in ("type", "loc", "msg")} for each in error.errors()]}, 422)


async def _engine_reply(request: Request, error: EngineError) -> JSONResponse:
    status = 500 if error.code.partition(".")[0] in OURS else 400
    advice = " ".join(part for part in (error.expected, error.todo) if part)
    return JSONResponse(_told(error.code, error.what, advice), status)


async def _unexpected_reply(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(_told(type(error).__name__, "Something went wrong that should not.", "Details are in the terminal."), 500)


def _told(error: str, detail: str, errors: str) -> dict[str, Any]:
    return {"error": error, "detail": detail, "body": "", "errors": errors}
