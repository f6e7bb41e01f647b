"""Who may talk to the page: a check of Host, Origin and Sec-Fetch-Site before anything else, and security headers on every reply.

Browsers let any web site send requests to a server on this machine, and a site can make its own name point here (DNS
rebinding). Both give themselves away in these headers. It knows no user and no password.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

SAFE = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    # Gradio's page starts from inline scripts and compiles its listeners' JavaScript, so these two cannot be refused.
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Hosts:
    """Names the page is called by.

    Args:
        names: allowed host names, without port.
        any_address: also any literal IP address, which no one can rebind. For pages open to the network.
    """

    def __init__(self, names: Iterable[str], any_address: bool = False) -> None:
        self.names = {"localhost", "127.0.0.1", "::1", *(name.lower() for name in names)}
        self.any_address = any_address

    def allow(self, name: str) -> None:
        self.names.add(name.lower())

    def knows(self, host: str) -> bool:
        """Whether a Host header, with or without port, is one of ours."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name.rstrip(".") in self.names:
            return True
        try:
            return self.any_address and bool(ipaddress.ip_address(name))
        except ValueError:
            return False


class Guard:
    """ASGI middleware.

    Args:
        hosts: shared with the server, which learns the name of a public link only after the start.
    """

    def __init__(self, app: Any, hosts: Hosts) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        reason = refusal(scope.get("method", "GET"), scope["path"], headers, self.hosts, scope["type"] == "websocket")
        if reason and scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        if reason:
            return await _refuse(send, *reason)

        async def send_guarded(message: dict) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in given]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self.app(scope, receive, send_guarded)


def refusal(method: str, path: str, headers: dict[str, str], hosts: Hosts, socket: bool = False) -> tuple[int, str] | None:
    """(status, reason) when a request must not reach the page."""
    host = headers.get("host", "")
    if not hosts.knows(host):
        return 421, "This page is not known by that name. Start it with --allow-host NAME to allow it."
    changes = method not in SAFE or socket
    origin = headers.get("origin")
    if origin is not None and (changes or origin == "null") and urlsplit(origin).netloc.lower() != host.lower():
        return 403, "Requests from other sites are refused."
    site = headers.get("sec-fetch-site", "same-origin")
    foreign = site not in ("same-origin", "none")
    opens_page = method == "GET" and path in ("/", "/login") and headers.get("sec-fetch-mode") == "navigate"
    if foreign and not opens_page:
        return 403, "Requests from other sites are refused."
    return None


async def _refuse(send: Any, status: int, reason: str) -> None:
    body = reason.encode()
    headers = {**HEADERS, "content-type": "text/plain; charset=utf-8", "content-length": str(len(body))}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
