"""Lets callers into the HTTP API: the page's names and passwords as HTTP Basic, or a login to the page.

Stands inside `webui.guard`, which has refused other sites by then.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.requests import HTTPConnection

ROOT = "/sdapi"
MAX_BODY = 128 * 2**20
"""Bytes of one request: two pictures of 4096 x 4096 px, in base64."""
CHALLENGE = {"WWW-Authenticate": 'Basic realm="LoRA Atelier", charset="UTF-8"'}


class Gate:
    """ASGI middleware: what is asked below `/sdapi` goes to the API, everything else on to the page.

    Args:
        app: the page.
        api: the API; a request carries the caller's name as `scope["user"]`.
        users: (name, password) of those who may call. Where there are none, everybody may, and the page is open to this machine only.
    """

    def __init__(self, app: Any, api: Any, users: Sequence[tuple[str, str]] = ()) -> None:
        self.app, self.api, self.users = app, api, users

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not (scope["path"] == ROOT or scope["path"].startswith(f"{ROOT}/")):
            return await self.app(scope, receive, send)
        user = self._caller(scope) if self.users else None
        if self.users and user is None:
            refused = JSONResponse({"detail": "Incorrect username or password"}, 401, CHALLENGE)
            return await refused(scope, receive, send)
        await self.api({**scope, "user": user}, bounded(receive), send)

    def _caller(self, scope: dict) -> str | None:
        """Who asks; None for a stranger. Who sends a password is known by nothing else."""
        connection = HTTPConnection(scope)
        if "authorization" in connection.headers:
            return self._named(*basic(connection.headers["authorization"]))
        page = scope["app"]  # Gradio's, which keeps who has signed in
        tokens = [connection.cookies.get(f"access-token{kind}-{page.cookie_id}") for kind in ("", "-unsecure")]
        return next((page.tokens[token] for token in tokens if token in page.tokens), None)

    def _named(self, name: bytes, password: bytes) -> str | None:
        """The user of this name and password. Takes as long for a wrong one as for a right one."""
        same = secrets.compare_digest
        found = [same(name, known.encode()) & same(password, secret.encode()) for known, secret in self.users]
        return next((user for (user, _), right in zip(self.users, found, strict=True) if right), None)


def basic(header: str) -> tuple[bytes, bytes]:
    """Name and password of an Authorization header (RFC 7617); both empty where it holds none."""
    scheme, _, encoded = header.partition(" ")
    try:
        name, _, password = base64.b64decode(encoded, validate=True).partition(b":")
    except ValueError:
        return b"", b""
    return (name, password) if scheme.lower() == "basic" else (b"", b"")


def bounded(receive: Any, most: int = MAX_BODY) -> Any:
    """`receive` that stops at so many bytes: HTTPException 413."""
    received = 0

    async def counted() -> dict:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise HTTPException(413, f"The request is larger than {most >> 20} MiB.")
        return message

    return counted
