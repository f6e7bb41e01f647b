"""The way out: GET requests to the sites of the list and where they send us, with tokens for those whom they belong to.

Everything that goes wrong becomes an error for people, without addresses that carry signatures, and without tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from engine import __version__
from engine.downloads.refusals import Refused, needs_token, no_connection, strange_answer
from engine.downloads.sites import Sites, origin
from engine.errors import DownloadError

MOST_HOPS = 6
SECONDS = httpx.Timeout(60, connect=15)
"""Without a single byte a connection is given up."""
LARGEST_JSON = 32 * 2**20
GIVEN = (200, 206, 416)
RETRIED = (408, 425, 500, 502, 503, 504)


class Broken(Exception):
    """A connection that did not come about or broke off; worth another try.

    Attributes:
        status: what the server answered, 0 when it did not.
    """

    def __init__(self, status: int = 0) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Reply:
    """An answer whose body is still to come.

    Attributes:
        status: 200, 206, or 416 for a range behind the end.
        sha256: of the whole file, where the hub says it, or "".
    """

    status: int
    headers: Mapping[str, str]
    sha256: str
    _response: httpx.Response

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes in. Raises Broken."""
        try:
            yield from self._response.iter_raw()
        except httpx.HTTPError:
            raise Broken from None


class Web:
    """Asks for things on behalf of one download.

    Args:
        subject: what is wanted, for error texts.
        tokens: "huggingface" and "civitai" -> token, where there is one.
        pause: s before the second try; it doubles with each.
    """

    def __init__(self, sites: Sites, subject: str = "", tokens: Mapping[str, str] | None = None, pause: float = 1.0) -> None:
        self.sites, self.subject, self.tokens, self.pause = sites, subject, dict(tokens or {}), pause
        agent = {"User-Agent": f"lora-atelier/{__version__}", "Accept-Encoding": "identity"}
        self._client = httpx.Client(headers=agent, timeout=SECONDS, follow_redirects=False)

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @contextmanager
    def get(self, address: str, headers: Mapping[str, str] | None = None) -> Iterator[Reply]:
        """Ask, and follow where we are sent.

        Raises:
            Broken: no connection, or the server is in trouble.
            DownloadError: it refuses, or sends us where we do not go.
        """
        first = parts = self.sites.check(address)
        asked, sha256 = origin(first), ""
        if asked in self.sites.hubs and os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise Broken
        for _ in range(MOST_HOPS):
            secret = self._secret(parts) if origin(parts) == asked else {}
            response = self._send(address, {**(headers or {}), **secret})
            try:
                sha256 = sha256 or self._linked(parts, response)
                target = response.headers.get("location", "") if response.is_redirect else ""
                if response.status_code in RETRIED:
                    raise Broken(response.status_code)
                if response.status_code in GIVEN:
                    yield Reply(response.status_code, response.headers, sha256, response)
                    return
                if not target:
                    raise self._refused(first, parts, response, bool(secret))
            finally:
                response.close()
            address = urljoin(address, target)
            parts = self.sites.check(address, sent_on=True)
            if origin(parts) in self.sites.civitai and parts.path.startswith("/login"):
                raise needs_token(self.subject, bool(secret))
        raise DownloadError(
            "download.refused", f"The server sends us in circles for {self.subject}.", todo="Try again later.",
            name=self.subject, status=response.status_code,
        )  # fmt: skip

    def json(self, address: str) -> Any:
        """What a site says of a model.

        Raises:
            DownloadError: it refuses, does not answer, or answers something else.
        """
        try:
            with self.get(address) as reply:
                body = b""
                for chunk in reply.chunks():
                    body += chunk
                    if len(body) > LARGEST_JSON:
                        raise ValueError("too long")
            return json.loads(body)
        except Broken as broken:
            raise no_connection(self.subject, broken.status) from None
        except (ValueError, RecursionError):
            raise strange_answer(urlsplit(address).hostname or "") from None

    def _send(self, address: str, headers: Mapping[str, str]) -> httpx.Response:
        try:
            return self._client.send(self._client.build_request("GET", address, headers=headers), stream=True)
        except (httpx.HTTPError, httpx.InvalidURL):
            raise Broken from None

    def _secret(self, parts: SplitResult) -> dict[str, str]:
        service = "huggingface" if origin(parts) in self.sites.hubs else "civitai" if origin(parts) in self.sites.civitai else ""
        token = self.tokens.get(service)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _linked(self, parts: SplitResult, response: httpx.Response) -> str:
        """The hub says the hash of a large file where it sends us on; what carries the file says something else."""
        said = response.headers.get("x-linked-etag", "").removeprefix("W/").strip('"').lower()
        return said if origin(parts) in self.sites.hubs and len(said) == 64 else ""

    def _refused(self, first: SplitResult, parts: SplitResult, response: httpx.Response, had_token: bool) -> DownloadError:
        pieces = [piece for piece in first.path.split("/") if piece]
        owner_and_name = pieces[2:4] if pieces[:2] == ["api", "models"] else pieces[:2]
        page = "/".join([self.sites.hub, *owner_and_name])
        return Refused(self.subject, origin(parts), page, response.status_code, response.headers, had_token).error(self.sites)
