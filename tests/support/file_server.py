"""A web server on this machine that behaves as it is told: files with ranges and tags, redirects, refusals, cut connections."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote


@dataclass
class Answer:
    """What a path is answered with.

    Attributes:
        cut_after: the connection breaks off after so many bytes, as often as `cuts` says.
        ranges: whether parts are sent when asked for.
        size: said in place of the real one.
        pace: bytes/s; 0 is as fast as can be.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int = 0
    cuts: int = 0
    ranges: bool = True
    size: int | None = None
    pace: int = 0


class FileServer:
    """`answers` by path without the query; `asked` holds (path with query, headers) of every request."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def put(self, path: str, body: bytes, **more: object) -> Answer:
        """A file with a tag."""
        answer = Answer(body, **more)  # type: ignore[arg-type]
        answer.headers.setdefault("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.answers[path] = answer
        return answer

    def put_json(self, path: str, content: object) -> None:
        self.answers[path] = Answer(json.dumps(content).encode(), headers={"Content-Type": "application/json"})

    def put_repository(self, repo: str, files: dict[str, bytes], commit: str = "a" * 40) -> None:
        """A model as the hub shows it: its list of files, and each of them; large ones with their hash."""
        siblings = []
        for path, body in files.items():
            digest = hashlib.sha256(body).hexdigest()
            large = {"lfs": {"sha256": digest, "size": len(body)}} if path.endswith(".safetensors") else {}
            siblings.append({"rfilename": path, "size": len(body), **large})
            for revision in (commit, "main"):
                self.put(f"/{repo}/resolve/{revision}/{path}", body)
        self.put_json(f"/api/models/{repo}/revision/main", {"id": repo, "sha": commit, "siblings": siblings})

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: FileServer, *args: object) -> None:
        self.files = server
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.files.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        answer = self.files.answers.get(unquote(self.path.partition("?")[0]), Answer(b"no such thing", 404))
        size = len(answer.body) if answer.size is None else answer.size
        body, status, more = answer.body, answer.status, dict(answer.headers)
        asked, tag = self.headers.get("Range", ""), self.headers.get("If-Range", "")
        if asked and answer.ranges and status == 200 and tag in ("", more.get("ETag")):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= size:
                status, body = 416, b""
            else:
                status, body = 206, body[start:]
                more["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
                size -= start
        self.send_response(status)
        for name, value in {"Content-Length": str(size if body else 0), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.cuts and len(body) > answer.cut_after:
            answer.cuts -= 1
            body = body[: answer.cut_after]
        with contextlib.suppress(OSError):  # they have seen enough
            step = answer.pace // 10 or len(body) or 1
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                time.sleep(0.1 if answer.pace else 0)
        if len(body) < size:
            self.close_connection = True


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """Clients that hang up are what these tests are about."""


@contextmanager
def file_server() -> Iterator[FileServer]:
    server = _Quiet(("127.0.0.1", 0), lambda *args: None)  # type: ignore[arg-type]
    files = FileServer(server.server_port)
    server.RequestHandlerClass = partial(_Handler, files)  # type: ignore[assignment]
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
