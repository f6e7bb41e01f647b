from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.downloads.sites import Sites
from engine.workspace import Workspace
from tests.support.file_server import FileServer, file_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with file_server() as running:
        yield running


@pytest.fixture
def carrier() -> Iterator[FileServer]:
    """A second one, where the first may send us on to."""
    with file_server() as running:
        yield running


@pytest.fixture
def sites(server: FileServer, carrier: FileServer) -> Sites:
    """The servers in place of the hub and what carries its files."""
    return Sites(hub=server.origin, civitai=("https://civitai.com",), carriers=(carrier.origin,))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ("HF_TOKEN", "CIVITAI_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "login"))
    return Workspace(tmp_path / "data").prepare()
