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
from engine.downloads.sites import Sites, origin
from engine.errors import DownloadError

MOST_HOPS = 6
SECONDS = httpx.Timeout(60, connect=15)
"""Without a single byte a connection is given up."""
LARGEST_JSON = 32 * 2**20
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
        parts = self.sites.check(address)
        asked, sha256 = origin(parts), ""
        if asked in self.sites.hubs and os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise Broken
        for _ in range(MOST_HOPS):
            secret = self._secret(parts) if origin(parts) == asked else {}
            response = self._send(address, {**(headers or {}), **secret})
            try:
                sha256 = sha256 or self._linked(parts, response)
                target = response.headers.get("location", "") if response.is_redirect else ""
                if not target:
                    self._check(parts, response, bool(secret))
                    yield Reply(response.status_code, response.headers, sha256, response)
                    return
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
            DownloadError: as `get`; also what `trouble` makes of a broken connection.
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
            raise self.trouble(broken) from None
        except (ValueError, RecursionError):
            raise strange_answer(urlsplit(address).hostname or "") from None

    def trouble(self, broken: Broken) -> DownloadError:
        """The error when nothing at all came."""
        if broken.status:
            return DownloadError(
                "download.server", f"The server of {self.subject} is in trouble (status {broken.status}).",
                todo="Try again later; what has arrived stays.", name=self.subject, status=broken.status,
            )  # fmt: skip
        return DownloadError(
            "download.offline", f"There is no connection to get {self.subject}.", "A network connection, or the file itself.",
            "Download it in a browser on any machine, and put .safetensors files into models/checkpoints (LoRAs into loras) of the data folder.",
            name=self.subject,
        )  # fmt: skip

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

    def _check(self, parts: SplitResult, response: httpx.Response, had_token: bool) -> None:
        """Raises what a status means."""
        status, code = response.status_code, response.headers.get("x-error-code", "")
        if status in (200, 206, 416):
            return
        if status in RETRIED:
            raise Broken(status)
        if status == 429:
            raise DownloadError(
                "download.busy", f"{parts.hostname} says that we ask too often.", todo="Wait some minutes; a token raises the limit.",
                host=parts.hostname,
            )  # fmt: skip
        if origin(parts) in self.sites.civitai and status in (401, 403):
            raise needs_token(self.subject, had_token)
        if origin(parts) in self.sites.hubs:
            self._hub_refusal(parts, status, code, response.headers.get("x-error-message", ""), had_token)
        if status in (404, 410):
            raise not_found(self.subject)
        raise DownloadError(
            "download.refused", f"{parts.hostname} refuses {self.subject} (status {status}).", todo="Try it in a browser.",
            name=self.subject, host=parts.hostname, status=status,
        )  # fmt: skip

    def _hub_refusal(self, parts: SplitResult, status: int, code: str, message: str, had_token: bool) -> None:
        if code == "GatedRepo":
            raise DownloadError(
                "download.gated", f"{self.subject} is shared only with people who accepted its terms.", "An account with access, and its token.",
                "Open its page, sign in and accept the terms. Then make a token of kind Read (Settings, Access Tokens), enter it in the "
                "Settings tab here and start again.",
                name=self.subject, page=self._page(parts),
            )  # fmt: skip
        if status == 401 and had_token and "credential" in message.lower():
            raise DownloadError(
                "download.token_refused", "Hugging Face does not accept the token.", "A valid token of kind Read.",
                "Delete it in Settings and enter a new one.", site="Hugging Face",
            )  # fmt: skip
        if code == "EntryNotFound":
            raise DownloadError(
                "download.no_file", f"The model is there, but it has no file {self.subject}.", "A file that its page lists.",
                "Look at the files on its page.", name=self.subject,
            )  # fmt: skip
        if code in ("RepoNotFound", "RevisionNotFound") or status == 401:
            raise not_found(self.subject)

    def _page(self, parts: SplitResult) -> str:
        """The page of the model that a request is about: https://huggingface.co/owner/name."""
        pieces = [piece for piece in parts.path.split("/") if piece]
        owner_and_name = pieces[2:4] if pieces[:2] == ["api", "models"] else pieces[:2]
        return "/".join([self.sites.hub, *owner_and_name])


def not_found(subject: str) -> DownloadError:
    return DownloadError(
        "download.not_found", f"There is no {subject}, or it is private.", "What stands in the address of its page.",
        "Check the spelling. For a private model enter a token in Settings.", name=subject,
    )  # fmt: skip


def needs_token(subject: str, had_token: bool) -> DownloadError:
    if had_token:
        return DownloadError(
            "download.token_refused", "Civitai does not accept the token for this file.", "A valid API key of an account that may have it.",
            "Make a new key (Account settings, API Keys), delete the old one in Settings and enter the new one.", site="Civitai",
        )  # fmt: skip
    return DownloadError(
        "download.needs_token", f"Civitai gives {subject} only to people who are signed in.", "An API key of your account.",
        "On civitai.com open Account settings, API Keys, Add API key; enter it in the Settings tab here and start again.",
        name=subject,
    )  # fmt: skip


def strange_answer(host: str) -> DownloadError:
    return DownloadError(
        "download.strange_answer", f"{host} answered with something that cannot be read.",
        todo="Try again later; a proxy or a login page of the network may be in between.", host=host,
    )  # fmt: skip
