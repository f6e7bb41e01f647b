from __future__ import annotations

from starlette.testclient import TestClient

from engine.jobs.store import open_store
from engine.workspace import Workspace
from webui.api.app import build
from webui.api.service import Service
from webui.context import Context


def test_what_nobody_expected_says_so_and_no_more(workspace: Workspace) -> None:
    app = build(Service(Context(workspace, open_store(workspace.database))))

    @app.get("/broken")
    def broken() -> None:
        raise KeyError("/home/somebody/secret")

    reply = TestClient(app, raise_server_exceptions=False).get("/broken")
    assert reply.status_code == 500
    assert set(reply.json()) == {"error", "detail", "body", "errors"} and reply.json()["error"] == "KeyError"
    assert "secret" not in reply.text
