"""Who is let into the API, with Gradio's own sign-in beside it."""

from __future__ import annotations

import base64
import functools
from pathlib import Path

import gradio as gr
import pytest
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from engine.jobs.store import open_store
from engine.workspace import Workspace
from webui.api import app as api
from webui.api import gate
from webui.api.gate import Gate, basic
from webui.api.service import Service
from webui.context import Context
from webui.guard import Guard, Hosts

USERS = [("owner", "a:b é"), ("guest", "c")]
URL = "http://127.0.0.1:7860"


def page(folder: Path, users: list[tuple[str, str]]) -> TestClient:
    """A page with an API before it, as the server puts them together."""
    workspace = Workspace(folder / "data").prepare()
    service = Service(Context(workspace, open_store(workspace.database)))
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.Textbox()
    outer = [Middleware(Guard, hosts=Hosts([])), Middleware(Gate, api=api.build(service), users=users)]
    served = gr.routes.App.create_app(blocks, app_kwargs={"middleware": outer})
    served.auth = dict(users) or None
    return TestClient(served, base_url=URL)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return page(tmp_path_factory.mktemp("closed"), USERS)


def header(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize("user", USERS)
def test_the_names_and_passwords_of_the_page(client: TestClient, user: tuple[str, str]) -> None:
    assert client.get("/sdapi/v1/samplers", headers=header(*user)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {}, header("owner", "c"), header("owner", ""), header("", ""), header("nobody", "a:b é"), {"Authorization": "Basic !"},
        {"Authorization": "Bearer " + header("guest", "c")["Authorization"].split()[1]}, {"Authorization": ""},
        {"Cookie": "access-token=x; access-token-unsecure=x"},
    ],
)  # fmt: skip
def test_strangers_are_asked_for_a_password(client: TestClient, headers: dict[str, str]) -> None:
    for path in ("/sdapi/v1/samplers", "/sdapi", "/sdapi/v1/nothing"):
        refused = client.get(path, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
        assert refused.json() == {"detail": "Incorrect username or password"}
    assert client.post("/sdapi/v1/txt2img", json={}, headers=headers).status_code == 401


def test_a_login_to_the_page_is_enough_but_not_beside_a_wrong_password(tmp_path: Path) -> None:
    client = page(tmp_path, USERS)
    assert client.post("/login", data={"username": "owner", "password": "wrong"}).status_code == 400
    assert client.get("/sdapi/v1/samplers").status_code == 401
    client.post("/login", data={"username": "owner", "password": "a:b é"}).raise_for_status()
    assert client.get("/sdapi/v1/samplers").status_code == 200
    assert client.get("/sdapi/v1/samplers", headers=header("owner", "wrong")).status_code == 401
    assert client.get("/logout", follow_redirects=False).is_redirect
    assert client.get("/sdapi/v1/samplers").status_code == 401


def test_other_sites_and_other_names_are_refused_whoever_asks(client: TestClient) -> None:
    owner = header(*USERS[0])
    for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post("/sdapi/v1/interrupt", headers={**owner, **foreign}).status_code == 403
    assert client.get("/sdapi/v1/samplers", headers={**owner, "Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.get("/sdapi/v1/samplers", headers={**owner, "Host": "evil.example"}).status_code == 421
    assert client.post("/sdapi/v1/interrupt", headers={**owner, "Origin": URL}).status_code == 200


def test_without_users_everybody_may_and_the_page_stays_reachable(tmp_path: Path) -> None:
    client = page(tmp_path, [])
    assert client.get("/sdapi/v1/samplers").status_code == 200
    assert client.get("/config").status_code == 200
    assert client.get("/sdapi/v1/nothing").status_code == 404
    assert client.get("/sdapiv1").status_code == 404


@pytest.mark.parametrize("pieces", [1, 4])
def test_a_request_is_read_to_its_bound_only(client: TestClient, monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    monkeypatch.setattr(gate, "bounded", functools.partial(gate.bounded, most=1000))
    body = b'{"image": "' + b"A" * 2000 + b'"}'
    step = -(-len(body) // pieces)
    sent = (body[start : start + step] for start in range(0, len(body), step))
    reply = client.post("/sdapi/v1/png-info", content=sent, headers={**header(*USERS[0]), "Content-Type": "application/json"})
    assert reply.status_code == 413


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Basic b3duZXI6YTpi", (b"owner", b"a:b")), ("basic b3duZXI6YTpi", (b"owner", b"a:b")), ("Basic b3duZXI=", (b"owner", b"")),
        ("Basic", (b"", b"")), ("Basic \u00e9", (b"", b"")), ("Digest b3duZXI6YTpi", (b"", b"")), ("", (b"", b"")),
    ],
)  # fmt: skip
def test_the_authorization_header(written: str, read: tuple[bytes, bytes]) -> None:
    assert basic(written) == read
