"""The datasets' routes on a workspace with one small dataset, without anybody to compute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.jobs.store import open_store
from engine.workspace import Workspace
from webui.context import Context
from webui.datasets.app import build

ADDRESS = "http://127.0.0.1:7860/atelier/datasets/"


@pytest.fixture()
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", remote=True).prepare()


@pytest.fixture()
def robots(workspace: Workspace) -> Path:
    """Three pictures of 96 x 64 px, of which one has a caption: left half red, right half blue."""
    folder = workspace.root / "datasets" / "robots"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        picture = Image.new("RGB", (96, 64), "blue")
        picture.paste("red", (0, 0, 48, 64))
        picture.save(folder / name)
    (folder / "a.txt").write_text("robo, a robot")
    return folder


@pytest.fixture()
def context(workspace: Workspace) -> Context:
    return Context(workspace, open_store(workspace.database), guest="guest")


@pytest.fixture()
def client(context: Context) -> Iterator[TestClient]:
    with TestClient(build(context), base_url=ADDRESS, headers={"accept-language": "en"}) as client:
        yield client
