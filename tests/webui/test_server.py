"""The page as it is served: attacks from other sites, other names, and what may be read."""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from webui.guard import HEADERS
from webui.server import script

ROOT = Path(__file__).parents[2]
SERVE = """
import argparse, json, sys
from pathlib import Path
from webui import server
class NoWorker(server.Supervisor):
    def ensure_worker(self): pass
    def stop_workers(self, timeout=0): return True
server.Supervisor = NoWorker
options = json.loads(sys.argv[1])
options["data_dir"] = Path(options["data_dir"])
options["auth"] = options["auth"] and tuple(options["auth"])
sys.exit(server.serve(argparse.Namespace(**options)))
"""
"""The page without anybody to compute, so that these tests need no model."""


@dataclass
class Served:
    url: str
    data: Path

    def ask(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes, dict]:
        request = urllib.request.Request(
            self.url + path, data, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read(), dict(reply.headers.items())
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers.items())


def serve(data: Path, auth: tuple[str, str] | None = None) -> tuple[subprocess.Popen, Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "data_dir": str(data), "host": "127.0.0.1", "port": port, "listen": False, "share": False, "allow_host": [], "auth": auth,
        "guest_auth": None, "ckpt_dir": None, "lora_dir": None, "embeddings_dir": None, "api": False, "lang": None, "no_browser": True,
    }  # fmt: skip
    log = data.with_suffix(".log")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, json.dumps(options)], cwd=ROOT, stdout=stream, stderr=stream, env=dict(os.environ)
        )
    deadline = time.monotonic() + 120
    while "is ready" not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return process, Served(f"http://127.0.0.1:{port}", data)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    process, page = serve(tmp_path_factory.mktemp("served") / "data")
    yield page
    process.terminate()
    assert process.wait(30) == 130


BOUNDARY = "x"
UPLOAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\ndata\r\n--{BOUNDARY}--\r\n'.encode()
)
MULTIPART = {"Content_Type": f"multipart/form-data; boundary={BOUNDARY}"}


def uploads(page: Served) -> int:
    return sum(1 for file in (page.data / "cache" / "gradio").rglob("*") if file.is_file())


def test_the_page_opens_with_its_headers(served: Served) -> None:
    status, body, headers = served.ask("/")
    assert status == 200
    assert script(None).encode()[:60] in body[:600]
    lower = {name.lower(): value for name, value in headers.items()}
    assert {name: lower[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/theme.css"])
def test_another_name_is_refused_everywhere(served: Served, path: str) -> None:
    status, body, headers = served.ask(path, Host="evil.example")
    assert status == 421
    assert b"gradio" not in body.lower()
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": "http://127.0.0.1:1"},
    ],
)
def test_another_site_can_neither_call_nor_upload(served: Served, headers: dict) -> None:
    before = uploads(served)
    call = json.dumps({"data": [], "fn_index": 0}).encode()
    assert served.ask("/gradio_api/run/predict", call, Content_Type="application/json", **headers)[0] == 403
    assert served.ask("/gradio_api/run/predict", call, Content_Type="text/plain", **headers)[0] == 403
    assert served.ask("/gradio_api/upload", UPLOAD, **MULTIPART, **headers)[0] == 403
    assert uploads(served) == before


def test_our_own_page_may(served: Served) -> None:
    own = {"Origin": served.url, "Sec_Fetch_Site": "same-origin"}
    assert served.ask("/gradio_api/upload", UPLOAD, **MULTIPART, **own)[0] == 200


def test_only_pictures_are_handed_out(served: Served) -> None:
    picture = served.data / "outputs" / "a.png"
    picture.write_bytes(b"png")
    for secret in ("loras/a.safetensors", "runs/b/config.yaml", "config/c.yaml"):
        file = served.data / secret
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"secret")
        assert served.ask(f"/gradio_api/file={file}")[0] == 403
    assert served.ask(f"/gradio_api/file={picture}")[:2] == (200, b"png")
    for path in (
        served.data / "jobs.sqlite3",
        ROOT / "pyproject.toml",
        Path("/etc/passwd"),
        served.data / "outputs/../jobs.sqlite3",
    ):
        assert served.ask(f"/gradio_api/file={path}")[0] in (403, 404)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/sdapi", "/sdapi/v1/samplers"])
def test_nothing_for_programmers_unless_asked_for(served: Served, path: str) -> None:
    assert served.ask(path)[0] == served.ask(path, b"{}", Content_Type="application/json")[0] == 404


def test_a_password_guards_the_page(tmp_path: Path) -> None:
    process, page = serve(tmp_path / "data", ("owner", "secret"))
    try:
        assert page.ask("/config")[0] == 401
        assert page.ask("/gradio_api/upload", UPLOAD, **MULTIPART)[0] == 401
        _, body, _ = page.ask("/")
        assert str(page.data).encode() not in body
    finally:
        process.terminate()
        process.wait(30)


def test_options_are_those_of_the_launcher() -> None:
    from launch import parse

    assert set(vars(parse([]))) >= {"listen", "share", "allow_host", "auth", "guest_auth", "ckpt_dir", "lang", "no_browser"}
    assert isinstance(parse([]), argparse.Namespace)
