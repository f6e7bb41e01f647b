"""Lets the owner's browser in to the datasets: with names and passwords set, only whoever has signed in to the page as the owner.

Stands inside `webui.guard`, which has refused other sites by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from starlette.requests import Request

from engine.errors import JobError
from webui.api.gate import bounded
from webui.context import Context
from webui.datasets.replies import ROOT, refused, told

MAX_BODY = 64 * 2**20
"""Bytes of one request that is no upload: a painted mask of a large picture, the names of a hundred thousand pictures."""
STREAMED = f"{ROOT}/uploads/"


class Door:
    """ASGI middleware: what is asked below `/atelier/datasets` goes to the datasets, everything else on to the page.

    Args:
        app: the page.
        build: makes the app of the datasets, `webui.datasets.app.build`; called for the first request, so that the page starts without it.
        context: of the running page.
        users: (name, password) of those who may sign in to the page. Where there are none, the page is open to this machine only.
    """

    def __init__(
        self, app: Any, build: Callable[[Context], Any], context: Context, users: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.app, self.build, self.context, self.users = app, build, context, users

    @cached_property
    def datasets(self) -> Any:
        return self.build(self.context)

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not (scope["path"] == ROOT or scope["path"].startswith(f"{ROOT}/")):
            return await self.app(scope, receive, send)
        context = self.context
        request = Request(scope)
        if self.users:
            user = _signed_in(request)
            try:
                if user is None:
                    raise JobError("page.signed_out", "You are not signed in.", todo="Load the page again and sign in.")
                if user == context.guest:
                    raise JobError(
                        "guest.refused", "Guests may make pictures; training is the owner's.", todo="Sign in as the owner."
                    )
            except JobError as error:
                reply = refused(401 if user is None else 403, told(error, context.language(request)))
                return await reply(scope, receive, send)
        await self.datasets(scope, receive if scope["path"].startswith(STREAMED) else bounded(receive, MAX_BODY), send)


def _signed_in(request: Request) -> str | None:
    """The name somebody has signed in to the page with; None for a stranger. Gradio's app keeps them by cookie."""
    page = request.scope["app"]
    tokens = [request.cookies.get(f"access-token{kind}-{page.cookie_id}") for kind in ("", "-unsecure")]
    return next((page.tokens[token] for token in tokens if token in page.tokens), None)
