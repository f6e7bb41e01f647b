"""Puts our script in front of everything else in the page.

Gradio adds the `head` of an app only after it has started, which is too late: by then it has asked the browser for its language
and its colours. So the script goes into the page's HTML as it leaves the server.
"""

from __future__ import annotations

from typing import Any

MARK = b"<head>"


class EarlyScript:
    """ASGI middleware.

    Args:
        script: JavaScript, put right behind `<head>` of the page.
    """

    def __init__(self, app: Any, script: str) -> None:
        self.app = app
        self.element = b"<script>" + script.encode() + b"</script>"

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            return await self.app(scope, receive, send)
        start: dict = {}
        body = b""

        async def send_changed(message: dict) -> None:
            """Hold the page back until it is whole, since its length changes."""
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            whole = body.replace(MARK, MARK + self.element, 1)
            length = (b"content-length", str(len(whole)).encode())
            headers = [length if name.lower() == length[0] else (name, value) for name, value in start["headers"]]
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": whole})

        await self.app(scope, receive, send_changed)
