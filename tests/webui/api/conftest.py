"""The API on an empty workspace, without anybody to compute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from engine.jobs.store import open_store
from engine.workspace import Workspace
from webui.api.app import build
from webui.api.service import Service
from webui.context import Context


@pytest.fixture()
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


@pytest.fixture()
def service(workspace: Workspace) -> Service:
    return Service(Context(workspace, open_store(workspace.database), guest="guest"))


class Named:
    """Middleware that says who asks, as the gate does."""

    def __init__(self, app, user: str | None) -> None:
        self.app, self.user = app, user

    async def __call__(self, scope, receive, send) -> None:
        await self.app({**scope, "user": self.user}, receive, send)


@pytest.fixture()
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(Named(build(service), "owner"), base_url="http://127.0.0.1:7860/sdapi/v1/") as client:
        yield client


@pytest.fixture()
def guest(service: Service) -> Iterator[TestClient]:
    with TestClient(Named(build(service), "guest"), base_url="http://127.0.0.1:7860/sdapi/v1/") as client:
        yield client
