from __future__ import annotations

import shutil
from typing import Any

import pytest
from starlette.testclient import TestClient

from engine.config.generate import GenerateConfig
from engine.file_notes import FileNotes
from engine.formats.hashes import hashed_file, model_hashes
from engine.model_facts import STARTER_FOLDER
from engine.workspace import Workspace
from webui.api.options import OVERRIDES, Options


def test_options_are_kept_until_they_change(client: TestClient, workspace: Workspace) -> None:
    assert client.get("options").json()["sd_model_checkpoint"] == "starter"
    assert client.post("options", json={"CLIP_stop_at_last_layers": 2, "unknown": 1, "emphasis": None}).json() is None
    client.post("options", json={"samples_format": "webp"})
    told = client.get("options").json()
    assert (told["CLIP_stop_at_last_layers"], told["samples_format"], told["emphasis"]) == (2, "webp", "Original")
    assert "unknown" not in told
    assert [file.name for file in (workspace.root / "config").iterdir()] == ["api.yaml"]


def test_a_model_is_called_by_title_name_or_hash(client: TestClient, workspace: Workspace) -> None:
    other = shutil.copytree(STARTER_FOLDER, workspace.root / "models" / "checkpoints" / "other")
    with hashed_file(other).open("ab") as weights:
        weights.truncate(weights.tell() - 1)
        weights.write(b"\1")
    sha = model_hashes(other, FileNotes(workspace.cache)).sha256
    title = f"other [{sha[:10]}]"
    assert title in [card["title"] for card in client.get("sd-models").json()]
    for name in (title, "other", sha, sha[:10], "other [0000000000]"):
        client.post("options", json={"sd_model_checkpoint": "starter"}).raise_for_status()
        client.post("options", json={"sd_model_checkpoint": name}).raise_for_status()
        told = client.get("options").json()
        assert (told["sd_model_checkpoint"], told["sd_checkpoint_hash"]) == (title, sha)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"CLIP_stop_at_last_layers": 99}, "CLIP_stop_at_last_layers"), ({"randn_source": "dice"}, "randn_source"),
        ({"samples_format": "exe"}, "samples_format"), ({"sd_vae": 3}, "sd_vae"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_and_changes_nothing(client: TestClient, given: dict[str, Any], field: str) -> None:
    before = client.get("options").json()
    refused = client.post("options", json={"eta_noise_seed_delta": 5, **given})
    assert refused.status_code == 422 and refused.json()["detail"][0]["loc"] == ["body", field]
    within = client.post("txt2img", json={"override_settings": given})
    assert within.status_code == 422 and within.json()["detail"][0]["loc"] == ["body", "override_settings", field]
    assert client.get("options").json() == before


@pytest.mark.parametrize("name", ["nothing", "../../secret.safetensors", "/etc/passwd"])
def test_an_unknown_model_is_refused_by_name(client: TestClient, name: str) -> None:
    refused = client.post("options", json={"sd_model_checkpoint": name})
    assert refused.status_code == 400
    assert refused.json()["error"].startswith(("model.", "path.")) and name in refused.json()["detail"]
    assert client.post("txt2img", json={"override_settings": {"sd_model_checkpoint": name}}).status_code == 400


def test_guests_change_nothing(guest: TestClient) -> None:
    assert guest.post("options", json={"CLIP_stop_at_last_layers": 2}).status_code == 403
    lasting = {"override_settings": {"CLIP_stop_at_last_layers": 2}, "override_settings_restore_afterwards": False}
    assert guest.post("txt2img", json=lasting).status_code == 403
    assert guest.get("options").json()["CLIP_stop_at_last_layers"] == 1


def test_a_broken_file_is_told(client: TestClient, workspace: Workspace) -> None:
    (workspace.root / "config" / "api.yaml").write_text("sd_vae: [1")
    told = client.get("options")
    assert told.status_code == 400 and told.json()["error"] == "config.unreadable"


def test_options_are_settings_of_pictures() -> None:
    own = {path.partition(".")[0] for path in OVERRIDES}
    assert own <= set(GenerateConfig.model_fields)
    assert GenerateConfig.model_validate(Options().settings()) == GenerateConfig()
    chosen = Options(sd_vae="x.safetensors", randn_source="GPU", samples_format="jpg", CLIP_stop_at_last_layers=2).settings()
    assert chosen["vae"] == "x.safetensors" and chosen["noise_source"] == "NV" and chosen["picture_format"] == "jpeg"
    assert chosen["clip_skip"] == 2
