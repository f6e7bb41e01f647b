"""Lists in the shapes that clients read."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from engine.config.choices import SAMPLER_NAMES
from engine.styles import Style, write_styles
from engine.workspace import Workspace
from webui.api.orders import schedule_named


def safetensors(file: Path, shapes: dict[str, tuple[int, int]], **metadata: str) -> None:
    """A file of zeros."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, (rows, columns) in shapes.items():
        start, end = end, end + 4 * rows * columns
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def listed(client: TestClient, name: str) -> Any:
    reply = client.get(name)
    assert reply.status_code == 200
    return reply.json()


def test_every_sampler_and_schedule_that_is_listed_is_understood(client: TestClient) -> None:
    assert [item["name"] for item in listed(client, "samplers")] == list(SAMPLER_NAMES[1:])
    assert set(listed(client, "samplers")[0]) == {"name", "aliases", "options"}
    for item in listed(client, "schedulers"):
        assert schedule_named(item["name"]) == schedule_named(item["label"]) == item["label"]
    assert set(listed(client, "schedulers")[0]) == {"name", "label", "aliases", "default_rho", "need_inner_model"}


def test_models(client: TestClient, workspace: Workspace) -> None:
    (workspace.root / "models" / "checkpoints" / "broken.safetensors").write_bytes(b"x")
    (starter,) = listed(client, "sd-models")
    assert set(starter) == {"title", "model_name", "hash", "sha256", "filename", "config"}
    assert starter["model_name"] == "starter" and Path(starter["filename"]).is_dir()


def test_loras_are_named_as_a_prompt_names_them(client: TestClient, workspace: Workspace) -> None:
    tensors = {"lora_unet_x.lora_down.weight": (2, 3), "lora_unet_x.lora_up.weight": (3, 2)}
    told = {"ss_output_name": "my-a", "ss_tag_frequency": "{}"}
    safetensors(workspace.loras / "sub" / "a.safetensors", tensors, **told, long="x" * 2_000_000)
    (workspace.loras / "broken.safetensors").write_bytes(b"x")
    found = {item["name"]: item for item in listed(client, "loras")}
    assert found["sub/a"] == {
        "name": "sub/a", "alias": "my-a", "path": str(workspace.loras / "sub" / "a.safetensors"),
        "metadata": told,
    }  # fmt: skip
    assert found["broken"]["alias"] == "broken" and found["broken"]["metadata"] == {}


def test_embeddings_styles_and_vaes(client: TestClient, workspace: Workspace) -> None:
    folder = workspace.root / "models" / "embeddings"
    safetensors(folder / "word.safetensors", {"emb_params": (4, 768)})
    (folder / "old.pt").write_bytes(b"x")
    write_styles(workspace, {"soft": Style("soft {prompt}", "hard")})
    (workspace.root / "models" / "vae" / "v.safetensors").write_bytes(b"x")
    loaded = listed(client, "embeddings")["loaded"]
    assert list(loaded) == ["old", "word"] and (loaded["word"]["shape"], loaded["word"]["vectors"]) == (768, 4)
    assert loaded["old"]["vectors"] is None
    assert listed(client, "prompt-styles") == [{"name": "soft", "prompt": "soft {prompt}", "negative_prompt": "hard"}]
    assert [item["model_name"] for item in listed(client, "sd-vae")] == ["v.safetensors"]


def test_upscalers_are_told_apart(client: TestClient) -> None:
    assert [item["name"] for item in listed(client, "upscalers")] == ["None", "Lanczos", "Nearest"]
    assert all(item["name"].startswith("Latent") for item in listed(client, "latent-upscale-modes"))


def test_what_is_not_here_is_an_empty_list(client: TestClient) -> None:
    assert listed(client, "hypernetworks") == listed(client, "face-restorers") == listed(client, "script-info") == []
    assert listed(client, "scripts") == {"txt2img": [], "img2img": []}


def test_flags_hold_no_secret(client: TestClient, workspace: Workspace) -> None:
    flags = listed(client, "cmd-flags")
    assert flags["api"] is True and flags["data_dir"] == str(workspace.root) and not any("auth" in name for name in flags)
