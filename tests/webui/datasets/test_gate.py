"""Who is let in to the datasets: the owner, where the page has users, and nobody from another site."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from webui.context import Context
from webui.datasets import gate
from webui.datasets.app import build
from webui.datasets.gate import Door
from webui.guard import Guard, Hosts

USERS = [("owner", "a"), ("guest", "b")]


def page(context: Context, users: list[tuple[str, str]]) -> TestClient:
    """A page with the datasets before it, as the server puts them together; like Gradio it keeps who has signed in."""
    inner = Starlette(
        routes=[Route("/{path:path}", lambda request: PlainTextResponse("the page"), methods=["GET", "POST"])],
        middleware=[Middleware(Guard, hosts=Hosts([])), Middleware(Door, build=build, context=context, users=users)],
    )
    inner.cookie_id, inner.tokens = "x", {"o": "owner", "g": "guest"}  # type: ignore[attr-defined]
    return TestClient(inner, base_url="http://127.0.0.1:7860", headers={"accept-language": "en"})


def test_without_users_the_page_is_this_machine_s_own(context: Context, robots) -> None:
    client = page(context, [])
    assert [each["dataset"] for each in client.get("/atelier/datasets/list").json()][:1] == ["robots"]
    assert client.get("/atelier/other").text == client.get("/").text == "the page"


@pytest.mark.parametrize("kind", ["", "-unsecure"])
def test_the_owner_is_let_in(context: Context, robots, kind: str) -> None:
    client = page(context, USERS)
    reply = client.post("/atelier/datasets/open", json={"dataset": "robots"}, headers={"cookie": f"access-token{kind}-x=o"})
    assert (reply.status_code, reply.json()["total"]) == (200, 3)


@pytest.mark.parametrize(
    ("cookie", "status", "code"),
    [
        ("", 401, "page.signed_out"), ("access-token-x=wrong", 401, "page.signed_out"), ("access-token-y=o", 401, "page.signed_out"),
        ("access-token-x=g", 403, "guest.refused"), ("access-token-unsecure-x=g", 403, "guest.refused"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["", "/list", "/nothing", "/assets/app.js", "/uploads/x"])
def test_strangers_and_guests_stay_outside(context: Context, robots, path: str, cookie: str, status: int, code: str) -> None:
    client = page(context, USERS)
    for method in ("GET", "POST"):
        reply = client.request(method, f"/atelier/datasets{path}", headers={"cookie": cookie})
        assert (reply.status_code, reply.json()["code"]) == (status, code)
        assert reply.json()["todo"]


def test_a_password_is_no_way_in(context: Context) -> None:
    assert page(context, USERS).get("/atelier/datasets/list", auth=("owner", "a")).status_code == 401


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"host": "evil.example"}, {"origin": "null"}]
)
def test_other_sites_are_refused(context: Context, robots: object, headers: dict[str, str]) -> None:
    client = page(context, [])
    reply = client.post("/atelier/datasets/exclude", json={"dataset": "robots", "names": ["a.png"]}, headers=headers)
    assert reply.status_code in (403, 421)
    assert client.post("/atelier/datasets/open", json={"dataset": "robots"}).json()["excluded"] == 0


def test_requests_are_bounded_but_for_uploads(context: Context, robots: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_BODY", 1000)
    client = page(context, [])
    large = client.post("/atelier/datasets/page", json={"dataset": "robots", "query": {"text": "x" * 2000}})
    assert (large.status_code, large.json()["code"]) == (413, "page.bad_request")
    upload = client.post("/atelier/datasets/uploads", json={"dataset": "robots"}).json()["upload"]
    sent = client.put(f"/atelier/datasets/uploads/{upload}", params={"name": "d.txt"}, content=b"x" * 2000)
    assert sent.status_code == 200
    client.delete(f"/atelier/datasets/uploads/{upload}")
