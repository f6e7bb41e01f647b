"""A file that arrives whole or not at all: it grows beside its place as a hidden `.part`, goes on after an interruption, and is checked.

What came is kept until the file is whole. It is gone on with only if the server's file is the same: by the tag the server gave it
(`If-Range`), or since its hash is known and checked at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.downloads.refusals import no_connection
from engine.downloads.web import Broken, Reply, Web
from engine.errors import DownloadError, ModelError
from engine.formats.safetensors_header import Header, read_beginning, read_header
from engine.workspace import atomic_write, sync_folder

TRIES = 5
"""Connections in a row that bring nothing before we give up."""
CHUNK = 2**20
"""Bytes read from the disk at a time."""
SPARE = 512 * 2**20
"""Bytes of the disk that a download leaves free."""
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class Remote:
    """A file to fetch: address, bytes, and the SHA-256 of the whole where the site says it, or ""."""

    address: str
    size: int
    sha256: str = ""


def peek(web: Web, address: str, name: str) -> tuple[Remote, Header]:
    """What a `.safetensors` file is, from its first bytes; a web page or a pickle shows itself here.

    Raises:
        ModelError: codes `file.*`.
        DownloadError: no connection, a refusal, or `download.no_size`.
    """
    try:
        with web.get(address, {"Range": "bytes=0-"}) as reply:
            _, size = _span(reply)
            if size is None:
                raise DownloadError(
                    "download.no_size", f"The server does not say how large {name} is.", "The size of the file.",
                    "Download it in a browser.", name=name,
                )  # fmt: skip
            return Remote(address, size, reply.sha256), read_beginning(Path(name), _Beginning(reply).read, size)
    except Broken as broken:
        raise no_connection(web.subject, broken.status) from None


class _Beginning:
    """The first bytes of an answer, as many as are asked for."""

    def __init__(self, reply: Reply) -> None:
        self._chunks, self._held = reply.chunks(), b""

    def read(self, count: int) -> bytes:
        while len(self._held) < count and (chunk := next(self._chunks, b"")):
            self._held += chunk
        given, self._held = self._held[:count], self._held[count:]
        return given


OnBytes = Callable[[int, str], None]
"""Called with the bytes of a file that are there by now, and "checking" or "downloading"."""


def fetch(web: Web, remote: Remote, target: Path, on_bytes: OnBytes, wait: Callable[[float], None]) -> None:
    """Bring a file to `target`.

    Args:
        on_bytes: what it raises ends the download, which can go on later.
        wait: waits so many seconds before another try; what it raises ends it too.

    Raises:
        DownloadError: it cannot be had, the disk has no room, or it is not what it should be.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    download = _Download(web, remote, target)
    download.take_up(on_bytes)
    tries = 0
    while not download.whole:
        before = download.received
        try:
            download.receive(on_bytes)
        except Broken as broken:
            tries = 1 if download.received > before else tries + 1
            if tries >= TRIES:
                raise _gave_up(web, target, broken) from None
            wait(web.pause * 2 ** (tries - 1))
    download.settle()


class _Download:
    """The state of one file on its way."""

    def __init__(self, web: Web, remote: Remote, target: Path) -> None:
        self.web, self.remote, self.target = web, remote, target
        self.part, self.notes = target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.part.json")
        self.tag, self.hash, self.received = "", hashlib.sha256(), 0

    @property
    def whole(self) -> bool:
        return self.received == self.remote.size and self.part.exists()

    def take_up(self, on_bytes: OnBytes) -> None:
        """Go on with what an earlier attempt left, if it is of the same file."""
        notes = _read_json(self.notes)
        same = notes.get("address") == self.remote.address and notes.get("size") == self.remote.size
        same = same and notes.get("sha256") == self.remote.sha256 and bool(notes.get("tag") or self.remote.sha256)
        if not same or not self.part.is_file() or self.part.stat().st_size > self.remote.size:
            return
        self.tag = str(notes.get("tag") or "")
        with self.part.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                self.hash.update(chunk)
                self.received += len(chunk)
                on_bytes(self.received, "checking")

    def receive(self, on_bytes: OnBytes) -> None:
        """Take what one connection brings. Raises Broken when it ends too early."""
        headers = {"Range": f"bytes={self.received}-"} if self.received else {}
        if headers and self.tag:
            headers["If-Range"] = self.tag
        with self.web.get(self.remote.address, headers) as reply:
            self._begin(reply)
            with self.part.open("ab" if self.received else "wb") as stream:
                for chunk in reply.chunks():
                    stream.write(chunk)
                    self.hash.update(chunk)
                    self.received += len(chunk)
                    if self.received > self.remote.size:
                        break
                    on_bytes(self.received, "downloading")
                stream.flush()
                os.fsync(stream.fileno())
        if self.received > self.remote.size:
            raise self._wrong_size(self.received)
        if self.received < self.remote.size:
            raise Broken

    def _begin(self, reply: Reply) -> None:
        """See from where the answer goes on, and that it fits on the disk."""
        start, size = _span(reply)
        if reply.status == 416 or start not in (0, self.received):
            self._start_over()
            raise Broken
        if start == 0:
            self._start_over()
        if size is not None and size != self.remote.size:
            raise self._wrong_size(size)
        check_room(self.target, self.remote.size - self.received)
        self.tag = tag if not (tag := reply.headers.get("etag", "")).startswith("W/") else ""
        notes = {"address": self.remote.address, "size": self.remote.size, "sha256": self.remote.sha256, "tag": self.tag}
        with atomic_write(self.notes, "w") as stream:
            json.dump(notes, stream)

    def _start_over(self) -> None:
        self.hash, self.received = hashlib.sha256(), 0

    def settle(self) -> None:
        """Give the whole file its name, if it is what it should be.

        Raises:
            DownloadError: `download.wrong_hash`.
            ModelError: codes `file.*`.
        """
        if self.remote.sha256 and self.hash.hexdigest() != self.remote.sha256:
            self._throw_away()
            raise DownloadError(
                "download.wrong_hash", f"{self.target.name} did not arrive as it was sent: its SHA-256 is another.",
                f"{self.remote.sha256[:16]}…; {self.hash.hexdigest()[:16]}… came.", "Start again; it is fetched anew.",
                name=self.target.name, wanted=self.remote.sha256[:16], found=self.hash.hexdigest()[:16],
            )  # fmt: skip
        if self.target.suffix == ".safetensors":
            try:
                read_header(self.part)
            except ModelError:
                self._throw_away()
                raise
        os.replace(self.part, self.target)
        self.notes.unlink(missing_ok=True)
        sync_folder(self.target.parent)

    def _wrong_size(self, size: int) -> DownloadError:
        self._throw_away()
        return DownloadError(
            "download.wrong_size", f"{self.target.name} has {size:,} bytes at the server.", f"{self.remote.size:,} bytes.",
            "Start again; the file may just have been replaced.", name=self.target.name, size=f"{size:,}",
            wanted=f"{self.remote.size:,}",
        )  # fmt: skip

    def _throw_away(self) -> None:
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)


def _span(reply: Reply) -> tuple[int, int | None]:
    """(byte the answer begins at, bytes of the whole file or None where that is not said)."""
    if reply.status == 206:
        found = _RANGE.fullmatch(reply.headers.get("content-range", "").strip())
        return (int(found[1]), int(found[3])) if found else (-1, None)
    said = reply.headers.get("content-length", "")
    return 0, int(said) if said.isdigit() else None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def check_room(target: Path, needed: int) -> None:
    """Raises DownloadError: `download.no_room`: the disk has no room for so many bytes more. The target's folder exists."""
    free = shutil.disk_usage(target.parent).free
    if needed + SPARE <= free:
        return
    raise DownloadError(
        "download.no_room", f"{target.name} needs {needed / 1e9:.1f} GB more; the disk has {free / 1e9:.1f} GB free.",
        f"That and {SPARE / 1e9:.1f} GB to spare.", "Free some space and start again; what has arrived stays.",
        name=target.name, needed=f"{needed / 1e9:.1f}", free=f"{free / 1e9:.1f}", spare=f"{SPARE / 1e9:.1f}",
    )  # fmt: skip


def _gave_up(web: Web, target: Path, broken: Broken) -> DownloadError:
    if broken.status:
        return no_connection(web.subject, broken.status)
    return DownloadError(
        "download.cut", f"The connection broke off while {target.name} was on its way.", "A connection that lasts.",
        "Start again when it is back; what has arrived stays, and it goes on from there.", name=target.name,
    )  # fmt: skip
