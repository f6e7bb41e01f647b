"""Models by their Hugging Face id: from a cache folder, without a network, and from a small hub of our own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub.constants
import pytest
import torch

from engine.errors import DownloadError, ModelError
from engine.families import load_model
from engine.families.hub import download
from tests.support.tiny import tiny_sd1

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd1(tmp_path_factory.mktemp("tiny") / "m")


@pytest.fixture
def cache(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one model in it, laid out as the hub's client lays it. Returns the model's folder there."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--tiny-model"
    snapshot = repository / "snapshots" / COMMIT
    shutil.copytree(tiny, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_a_model_in_the_cache_needs_no_network(cache: Path) -> None:
    told: list[tuple[int, int]] = []
    assert download("someone/tiny-model", lambda done, total: told.append((done, total))) == cache
    assert told == []
    loaded = load_model("someone/tiny-model", torch.device("cpu"), torch.float32)
    assert loaded.facts.name == "someone/tiny-model"  # not the hash that names its folder
    assert loaded.facts.resolution == 64 and loaded.facts.prediction == "epsilon"


@pytest.mark.parametrize("on_progress", [None, lambda done, total: None], ids=["silent", "with progress"])
def test_offline_it_says_so_at_once(cache: Path, on_progress) -> None:
    began = time.monotonic()
    with pytest.raises(ModelError) as caught:
        download("someone/other-model", on_progress)
    assert time.monotonic() - began < 2
    error = caught.value
    assert error.code == "model.offline" and error.values["field"] == "model.path"
    assert "someone/other-model" in error.what and "models/checkpoints" in error.todo


@pytest.mark.parametrize(
    "lost", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "vae/config.json"]
)
def test_an_interrupted_download_does_not_count_as_a_model(cache: Path, lost: str) -> None:
    (cache / lost).unlink()
    with pytest.raises(ModelError) as caught:
        load_model("someone/tiny-model", torch.device("cpu"), torch.float32)
    assert caught.value.code == "model.offline"


def test_an_impossible_id_is_refused(cache: Path) -> None:
    with pytest.raises(ModelError) as caught:
        download("some--one/x..y")
    assert caught.value.code == "model.not_on_hub" and caught.value.values["field"] == "model.path"


@pytest.mark.parametrize("on_progress", [None, lambda done, total: None], ids=["silent", "with progress"])
def test_a_network_that_refuses_is_offline_too(cache: Path, monkeypatch: pytest.MonkeyPatch, on_progress) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError) as caught:
        download("someone/other-model", on_progress)
    assert caught.value.code == "model.offline"


# ---- a hub on this machine ----


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does for one model, `someone/tiny-model`; others are gated or missing by their name."""

    def __init__(self, folder: Path, *args) -> None:
        self.folder = folder
        super().__init__(*args)

    def log_message(self, *args) -> None:
        pass

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if "someone/tiny-model" not in path:
            gated = "gated" in path
            return self.answer(403 if gated else 404, b"{}", X_Error_Code="GatedRepo" if gated else "RepoNotFound")
        files = [file for file in sorted(self.folder.rglob("*")) if file.is_file()]
        if "/tree/" in path:
            rows = [{"type": "file", "path": self.name(file), "size": file.stat().st_size, "oid": digest(file)} for file in files]
            return self.answer(200, json.dumps(rows).encode(), Content_Type="application/json")
        if path.startswith("/api/"):
            told = {"id": "someone/tiny-model", "sha": COMMIT, "siblings": []}
            return self.answer(200, json.dumps(told).encode(), Content_Type="application/json")
        file = self.folder / re.sub(".*/resolve/[^/]*/", "", path)
        if not file.is_file():
            return self.answer(404, b"", X_Error_Code="EntryNotFound")
        return self.answer(200, file.read_bytes(), X_Repo_Commit=COMMIT, ETag=f'"{digest(file)}"')

    do_HEAD = do_GET

    def name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()


def digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache and a hub that has the tiny model, with two files nobody needs."""
    folder = tmp_path / "served"
    shutil.copytree(tiny, folder)
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not wanted")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"never wanted")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder))
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    yield folder
    server.shutdown()
    server.server_close()


def test_a_download_tells_its_progress_and_brings_only_what_is_needed(hub: Path) -> None:
    told: list[tuple[int, int]] = []
    folder = download("someone/tiny-model", lambda done, total: told.append((done, total)))
    brought = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert brought == {file.relative_to(hub).as_posix() for file in hub.rglob("*") if file.is_file()} - {
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
    }
    total = sum((hub / name).stat().st_size for name in brought)
    assert told[0] == (0, total) and told[-1] == (total, total) and told == sorted(told) and len(told) == len(brought) + 1
    assert load_model(folder, torch.device("cpu"), torch.float32).facts.resolution == 64


def test_of_a_model_that_is_there_in_half_precision_only_that_is_brought(hub: Path) -> None:
    for file in [file for file in hub.glob("*/*.safetensors") if "." not in file.stem]:
        file.replace(file.with_name(f"{file.name.removesuffix('.safetensors')}.fp16.safetensors"))
    folder = download("someone/tiny-model")
    assert (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").read_bytes() != b"not wanted"
    loaded = load_model("someone/tiny-model", torch.device("cpu"), torch.float32)
    assert set(loaded.parts) == {"text_encoder", "unet", "vae"}


def test_a_repository_of_single_files_is_no_model(hub: Path) -> None:
    (hub / "model_index.json").unlink()
    with pytest.raises(DownloadError) as caught:
        download("someone/tiny-model")
    assert caught.value.code == "download.not_diffusers" and caught.value.values["field"] == "model.path"


def test_an_interrupted_download_goes_on(hub: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("someone/tiny-model", stop)
    assert (download("someone/tiny-model") / "vae" / "diffusion_pytorch_model.safetensors").is_file()


@pytest.mark.parametrize(("name", "code"), [("someone/gated-model", "model.gated"), ("someone/no-model", "model.not_on_hub")])
def test_what_the_hub_refuses(hub: Path, name: str, code: str) -> None:
    with pytest.raises(ModelError) as caught:
        download(name)
    assert caught.value.code == code and name in caught.value.what and caught.value.values["field"] == "model.path"
