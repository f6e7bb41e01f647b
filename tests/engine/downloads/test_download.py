"""Downloads from beginning to end, against a hub and a carrier on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from engine.config.downloads import DownloadConfig
from engine.downloads.download import download
from engine.downloads.sites import SETTINGS, Sites, sites_of
from engine.downloads.tokens import save_token
from engine.errors import ConfigError, EngineError, Interrupted
from engine.library import adapter_names, model_names
from engine.model_facts import STARTER_FOLDER, missing_parts
from engine.workspace import Workspace
from tests.support.file_server import FileServer

MODEL = {file.relative_to(STARTER_FOLDER).as_posix(): file.read_bytes() for file in STARTER_FOLDER.rglob("*") if file.is_file()}
LORA = save({
    "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": np.ones((2, 4), "float32"),
    "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": np.ones((4, 2), "float32"),
})  # fmt: skip
SECRET = "hf_canary0123456789"
Bring = Callable[..., dict[str, Any]]


@pytest.fixture
def told() -> list[dict[str, Any]]:
    """What was told on the way."""
    return []


@pytest.fixture
def bring(workspace: Workspace, sites: Sites, told: list[dict[str, Any]]) -> Bring:
    def bring(source: str, stop: Callable[[dict], bool] = lambda progress: False, where: Sites = sites) -> dict[str, Any]:
        def tell(progress: dict[str, Any]) -> None:
            told.append(progress)
            if stop(progress):
                raise Interrupted("job.interrupted", "Stopped.")

        return download(DownloadConfig(source=source), workspace, tell, where, pause=0.0)

    return bring


def tree(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# ---- a whole model ----


def test_a_model_arrives_and_stands_in_the_lists(server: FileServer, workspace: Workspace, bring: Bring, told: list) -> None:
    unwanted = {
        "README.md": b"#",
        "unet/diffusion_pytorch_model.fp16.safetensors": b"half",
        "safety_checker/model.safetensors": b"x",
    }
    server.put_repository("someone/tiny", {**MODEL, **unwanted})
    result = bring("someone/tiny")
    total = sum(map(len, MODEL.values()))
    plan = {"kind": "folder", "family": "sd1", "name": "tiny", "bytes": total, "files": len(MODEL)}
    assert result == {**plan, "file": "models/checkpoints/tiny", "already": False}
    folder = workspace.root / "models" / "checkpoints" / "tiny"
    assert {path: body for path, body in tree(folder).items() if path != ".download.json"} == MODEL
    assert missing_parts(folder) == [] and "tiny" in model_names(workspace)
    assert told[0]["phase"] == "looking" and (told[-1]["done"], told[-1]["total"], told[-1]["plan"]) == (total, total, plan)
    server.asked.clear()
    assert bring("someone/tiny")["already"] and not [path for path in server.paths() if path.endswith(".safetensors")]


def test_stopped_it_is_no_model_and_goes_on_where_it_was(server: FileServer, workspace: Workspace, bring: Bring) -> None:
    server.put_repository("someone/tiny", MODEL)
    with pytest.raises(Interrupted):
        bring("someone/tiny", lambda progress: progress["done"] > progress["total"] / 2 > 0)
    assert model_names(workspace) == {}
    whole = {path for path in tree(workspace.checkpoint_folders[0]) if not path.endswith((".part", ".json"))}
    server.asked.clear()
    bring("someone/tiny")
    again = [path.partition("/resolve/")[2].partition("/")[2] for path in server.paths()]
    assert whole and not {path for path in again if any(done.endswith(f"/{path}") for done in whole)}
    assert {**tree(workspace.root / "models" / "checkpoints" / "tiny"), ".download.json": b""} == {**MODEL, ".download.json": b""}


def test_of_another_commit_nothing_is_gone_on_with(server: FileServer, workspace: Workspace, bring: Bring) -> None:
    server.put_repository("someone/tiny", MODEL)
    with pytest.raises(Interrupted):
        bring("someone/tiny", lambda progress: progress["done"] > 0)
    index = "model_index.json"
    changed = {**MODEL, index: MODEL[index] + b"\n", "unet/config.json": MODEL["unet/config.json"].replace(b" ", b"\t")}
    server.put_repository("someone/tiny", changed, commit="b" * 40)
    bring("someone/tiny")
    found = tree(workspace.root / "models" / "checkpoints" / "tiny")
    assert found["unet/config.json"] == changed["unet/config.json"] and found[index] == changed[index]


def test_another_model_of_the_same_name_is_not_touched(server: FileServer, workspace: Workspace, bring: Bring) -> None:
    server.put_repository("someone/tiny", MODEL)
    server.put_repository("other/tiny", MODEL)
    bring("someone/tiny")
    with pytest.raises(EngineError) as caught:
        bring("other/tiny")
    assert caught.value.code == "download.taken" and caught.value.values["file"] == "models/checkpoints/tiny"


def test_weights_that_are_none_never_become_a_model(server: FileServer, workspace: Workspace, bring: Bring) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    server.put_repository("someone/tiny", {**MODEL, "unet/diffusion_pytorch_model.safetensors": pointer})
    with pytest.raises(EngineError) as caught:
        bring("someone/tiny")
    assert caught.value.code == "file.not_safetensors" and model_names(workspace) == {}


# ---- one file ----


def test_a_lora_goes_to_the_loras(server: FileServer, workspace: Workspace, bring: Bring) -> None:
    server.put("/a/b/resolve/main/sub/Nice, LoRA.safetensors", LORA)
    result = bring("a/b/sub/Nice, LoRA.safetensors")
    assert result["kind"] == "adapter" and result["file"] == "loras/Nice_ LoRA.safetensors" and result["bytes"] == len(LORA)
    assert tree(workspace.loras) == {"Nice_ LoRA.safetensors": LORA} and "Nice_ LoRA" in adapter_names(workspace)
    assert bring("a/b/sub/Nice, LoRA.safetensors")["already"]
    server.put("/c/d/resolve/main/Nice, LoRA.safetensors", save({"x.lora_down.weight": np.ones((1, 1), "float32")}))
    with pytest.raises(EngineError) as caught:
        bring("c/d/Nice, LoRA.safetensors")
    assert caught.value.code == "download.taken" and tree(workspace.loras) == {"Nice_ LoRA.safetensors": LORA}


def test_the_hub_says_the_hash_where_it_sends_us_on(
    server: FileServer, carrier: FileServer, sites: Sites, workspace: Workspace, bring: Bring
) -> None:
    save_token("huggingface", SECRET, workspace)
    carrier.put("/xet/1", LORA)
    linked = {"X-Linked-Etag": f'"{hashlib.sha256(LORA).hexdigest()}"', "Location": f"{carrier.origin}/xet/1?Signature=abc"}
    server.put("/a/b/resolve/main/x.safetensors", b"", status=302, headers=linked)
    bring("a/b/x.safetensors")
    assert tree(workspace.loras) == {"x.safetensors": LORA}
    assert {headers.get("authorization") for _, headers in server.asked} == {f"Bearer {SECRET}"}
    assert [headers for _, headers in carrier.asked if "authorization" in headers] == [], "a token is for its site alone"
    (workspace.loras / "x.safetensors").unlink()
    server.answers["/a/b/resolve/main/x.safetensors"].headers["X-Linked-Etag"] = f'"{"0" * 64}"'
    with pytest.raises(EngineError) as caught:
        bring("a/b/x.safetensors")
    assert caught.value.code == "download.wrong_hash" and tree(workspace.loras) == {}


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:1/x", "https://evil.example/x", "http://169.254.169.254/latest", "file:///etc/passwd"]
)
def test_sent_on_to_a_stranger_we_do_not_go(server: FileServer, bring: Bring, target: str) -> None:
    server.put("/a/b/resolve/main/x.safetensors", b"", status=302, headers={"Location": target})
    with pytest.raises(EngineError) as caught:
        bring("a/b/x.safetensors")
    assert caught.value.code in ("download.redirect", "download.address")


def test_sent_in_circles(server: FileServer, bring: Bring) -> None:
    server.put("/a/b/resolve/main/x.safetensors", b"", status=307, headers={"Location": "/a/b/resolve/main/x.safetensors"})
    with pytest.raises(EngineError) as caught:
        bring("a/b/x.safetensors")
    assert caught.value.code == "download.refused"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"PK\x03\x04" + bytes(100), "file.not_safetensors"),
        (b"\x80\x02}q\x00." + bytes(100), "file.not_safetensors"),
        (b"<!doctype html><title>Sign in</title>" + bytes(100), "file.not_safetensors"),
        (LORA[:-1], "file.truncated"),
        (LORA + b"!", "file.bad_offsets"),
        (save({"encoder.layer.0.weight": np.ones((1, 1), "float32")}), "download.useless"),
    ],
    ids=["zip", "pickle", "page", "cut", "more", "something else"],
)
def test_what_is_no_model_is_seen_in_its_first_bytes(
    server: FileServer, workspace: Workspace, bring: Bring, body: bytes, code: str
) -> None:
    server.put("/a/b/resolve/main/x.safetensors", body)
    with pytest.raises(EngineError) as caught:
        bring("a/b/x.safetensors")
    assert caught.value.code == code and tree(workspace.root) == {} and len(server.asked) == 1


# ---- refusals ----


@pytest.mark.parametrize(
    ("status", "headers", "token", "code"),
    [
        (401, {"X-Error-Code": "GatedRepo"}, False, "download.gated"),
        (403, {"X-Error-Code": "GatedRepo"}, True, "download.gated"),
        (401, {"X-Error-Code": "RepoNotFound"}, False, "download.not_found"),
        (401, {}, False, "download.not_found"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, True, "download.token_refused"),
        (404, {"X-Error-Code": "RepoNotFound"}, False, "download.not_found"),
        (404, {"X-Error-Code": "RevisionNotFound"}, False, "download.not_found"),
        (404, {"X-Error-Code": "EntryNotFound"}, False, "download.no_file"),
        (404, {}, False, "download.not_found"),
        (429, {}, False, "download.busy"),
        (500, {}, False, "download.server"),
        (418, {}, False, "download.refused"),
    ],
)
def test_refusals_in_plain_words(
    server: FileServer, workspace: Workspace, bring: Bring, status: int, headers: dict, token: bool, code: str
) -> None:
    if token:
        save_token("huggingface", SECRET, workspace)
    server.put("/a/b/resolve/main/x.safetensors", b"no", status=status, headers=headers)
    server.put("/api/models/a/b/revision/main", b"no", status=status, headers=headers)
    for source in ("a/b/x.safetensors", "a/b"):
        with pytest.raises(EngineError) as caught:
            bring(source)
        assert caught.value.code == code and SECRET not in json.dumps(caught.value.to_dict())
        if code == "download.gated":
            assert caught.value.values["page"] == f"{server.origin}/a/b" and "accept the terms" in caught.value.todo


def test_offline(workspace: Workspace, bring: Bring, sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError) as caught:
        bring("a/b", where=replace(sites, hub="http://127.0.0.1:9"))
    assert caught.value.code == "download.offline" and "models/checkpoints" in caught.value.todo
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EngineError) as caught:
        bring("a/b/x.safetensors")
    assert caught.value.code == "download.offline"


def test_a_token_is_written_nowhere(server: FileServer, workspace: Workspace, bring: Bring, told: list) -> None:
    save_token("huggingface", SECRET, workspace)
    server.put_repository("someone/tiny", MODEL)
    result = bring("someone/tiny")
    with pytest.raises(Interrupted):
        bring("someone/tiny", lambda progress: True)
    server.put("/a/b/resolve/main/x.safetensors", LORA)
    with pytest.raises(Interrupted):
        bring("a/b/x.safetensors", lambda progress: progress["done"] > 0)
    kept = [path for path, body in tree(workspace.root).items() if SECRET.encode() in body]
    assert kept == ["config/huggingface.token"] and SECRET not in json.dumps([result, told])


# ---- other sites ----


def civitai_file(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "Model", "metadata": {"format": "SafeTensor", "fp": "fp16"}, "hashes": {}, **more}


@pytest.fixture
def civitai(server: FileServer, sites: Sites) -> Sites:
    """The same server as Civitai; the hub is elsewhere."""
    return replace(sites, hub="http://127.0.0.1:9", civitai=(server.origin,))


def test_a_page_of_civitai_means_the_newest_version(
    server: FileServer, carrier: FileServer, civitai: Sites, workspace: Workspace, bring: Bring
) -> None:
    save_token("civitai", SECRET, workspace)
    digest = hashlib.sha256(LORA).hexdigest().upper()
    files = [
        civitai_file("old.ckpt", primary=True),
        civitai_file("full.safetensors", metadata={"fp": "fp32"}, downloadUrl=f"{server.origin}/api/download/models/2?fp=fp32"),
        civitai_file(
            "Cute.safetensors", primary=True, downloadUrl=f"{server.origin}/api/download/models/2", hashes={"SHA256": digest}
        ),
    ]
    server.put_json("/api/v1/models/1", {"id": 1, "modelVersions": [{"id": 2, "files": files}, {"id": 3, "files": []}]})
    server.put_json("/api/v1/model-versions/2", {"id": 2, "files": files})
    carrier.put("/b2/1", LORA)
    server.put("/api/download/models/2", b"", status=307, headers={"Location": f"{carrier.origin}/b2/1?X-Amz-Signature=1"})
    for address in ("/models/1/cute", "/models/1?modelVersionId=2", "/api/download/models/2"):
        result = bring(f"{server.origin}{address}", where=civitai)
        assert result["file"] == "loras/Cute.safetensors"
        assert tree(workspace.loras) == {"Cute.safetensors": LORA}
        (workspace.loras / "Cute.safetensors").unlink()
    bring(f"{server.origin}/api/download/models/2?fp=fp32", where=civitai)
    assert server.paths()[-1] == "/api/download/models/2?fp=fp32"
    assert {headers.get("authorization") for _, headers in server.asked} == {f"Bearer {SECRET}"}
    assert [headers for _, headers in carrier.asked if "authorization" in headers] == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"id": 2, "files": [civitai_file("x.ckpt")]}, "download.not_safetensors"),
        ({"id": 2, "files": [civitai_file("x.safetensors", downloadUrl="https://evil.example/x")]}, "download.strange_answer"),
        ({"id": 2, "files": 7}, "download.strange_answer"),
        ([], "download.strange_answer"),
    ],
)
def test_what_civitai_has_that_is_not_fetched(
    server: FileServer, civitai: Sites, bring: Bring, answer: object, code: str
) -> None:
    server.put_json("/api/v1/model-versions/2", answer)
    with pytest.raises(EngineError) as caught:
        bring(f"{server.origin}/models/1?modelVersionId=2", where=civitai)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "headers", "token", "code"),
    [
        (401, {}, False, "download.needs_token"),
        (403, {}, True, "download.token_refused"),
        (307, {"Location": "/login?returnUrl=x"}, False, "download.needs_token"),
        (404, {}, False, "download.not_found"),
    ],
)
def test_civitai_wants_us_to_sign_in(
    server: FileServer, civitai: Sites, workspace: Workspace, bring: Bring, status: int, headers: dict, token: bool, code: str
) -> None:
    if token:
        save_token("civitai", SECRET, workspace)
    server.put_json("/api/v1/model-versions/2", {"id": 2, "files": [civitai_file("x.safetensors")]})
    server.put("/api/download/models/2", b"", status=status, headers=headers)
    with pytest.raises(EngineError) as caught:
        bring(f"{server.origin}/api/download/models/2", where=civitai)
    assert caught.value.code == code and SECRET not in json.dumps(caught.value.to_dict())


def test_a_host_of_the_settings(server: FileServer, sites: Sites, workspace: Workspace, bring: Bring) -> None:
    server.put("/files/x.safetensors", LORA)
    result = bring(
        f"{server.origin}/files/x.safetensors", where=replace(sites, hub="http://127.0.0.1:9", others=(server.origin,))
    )
    assert result["file"] == "loras/x.safetensors" and tree(workspace.loras) == {"x.safetensors": LORA}


def test_the_settings_file(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sites_of(workspace) == Sites()
    file = workspace.root / "config" / SETTINGS
    file.write_text("hosts: [models.example.org, '*.example.net']")
    found = sites_of(workspace)
    assert found.others == ("https://models.example.org", "https://*.example.net") and set(found.others) < set(found.carriers)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert sites_of(workspace).hub == "https://mirror.example"
    for host in ("127.0.0.1", "10.0.0.1", "localhost", "a.b:80", "https://a.b", "*", "*.com.", "[::1]", "user@a.b", "2130706433"):
        file.write_text(json.dumps({"hosts": [host]}))
        with pytest.raises(ConfigError):
            sites_of(workspace)
