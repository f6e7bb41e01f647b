"""Where taggers are found, and those of Hugging Face fetched from a hub on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from engine.config.caption import TAGGERS
from engine.datasets.taggers import kinds, registry
from engine.datasets.taggers.place import STARTER_TAGGER, SUGGESTED, fetch_tagger, find_tagger, identity, tagger_names
from engine.errors import EngineError, Interrupted, ModelError
from engine.workspace import Workspace
from tests.support.file_server import FileServer, file_server
from tests.support.onnx_taggers import save_tagger

WEIGHTS = save({"weight": np.ones(3, "float32")})
BLIP = {
    "config.json": b'{"model_type": "blip"}', "model.safetensors": WEIGHTS, "tokenizer.json": b"{}", "preprocessor_config.json": b"{}",
    "vocab.txt": b"a", "README.md": b"#", "pytorch_model.bin": b"pickle", "tf_model.h5": b"x", "runs/tokenizer.json": b"x",
}  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", remote=True).prepare()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with file_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.origin)
        yield running


def options(kind: str, model: str) -> Any:
    return TAGGERS[kind](model=model)


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        if "/" not in name:
            (folder / name).write_bytes(content)
    return folder


def code(act: Any, *given: Any) -> str:
    with pytest.raises(EngineError) as caught:
        act(*given)
    assert caught.value.values["field"] == "tagger.model"
    return caught.value.code


def fetch(kind: str, model: str, workspace: Workspace) -> Path:
    return fetch_tagger(options(kind, model), workspace, lambda progress: None)


def test_every_kind_has_options_a_module_and_suggestions() -> None:
    assert set(TAGGERS) == set(registry.MODULES) == set(SUGGESTED) == {"wd14", *kinds.MODEL_TYPES}


# ---- what is there ----


def test_the_starter_needs_nothing(workspace: Workspace) -> None:
    assert find_tagger(options("wd14", "starter"), workspace) == STARTER_TAGGER
    assert tagger_names(workspace)["wd14"][0] == ("starter", "starter")


def test_folders_are_listed_by_their_kind_before_what_may_be_fetched(workspace: Workspace) -> None:
    save_tagger(workspace.taggers / "my tags")
    save_tagger(workspace.taggers / "wd-vit-tagger-v3")
    put(workspace.taggers / "sentences", BLIP)
    put(workspace.taggers / "foreign", {"config.json": b'{"model_type": "bert"}'})
    put(workspace.taggers / "broken", {"config.json": b"["})
    put(workspace.taggers / ".downloads", BLIP)
    names = {kind: [name for _, name in listed] for kind, listed in tagger_names(workspace).items()}
    assert names["wd14"][:3] == ["starter", "my tags", "wd-vit-tagger-v3"]
    assert "SmilingWolf/wd-vit-tagger-v3" not in names["wd14"] and "SmilingWolf/wd-eva02-large-tagger-v3" in names["wd14"]
    assert names["blip"][0] == "sentences" and "foreign" not in str(names) and ".downloads" not in str(names)
    assert find_tagger(options("wd14", "my tags"), workspace) == workspace.taggers / "my tags"


def test_a_path_is_taken_where_paths_are_allowed(workspace: Workspace, tmp_path: Path) -> None:
    inside, outside = save_tagger(workspace.root / "elsewhere"), save_tagger(tmp_path / "outside")
    assert find_tagger(options("wd14", str(inside)), workspace) == inside
    assert code(find_tagger, options("wd14", str(outside)), workspace) == "path.not_allowed"


@pytest.mark.parametrize("name", ["", "nobody", "a b/c", "../x/y", "..", "a/b/c", "https://example.org/x"])
def test_what_is_nowhere_is_named(workspace: Workspace, name: str) -> None:
    assert code(find_tagger, options("wd14", name), workspace) in ("tagger.not_found", "path.not_allowed")


def test_a_tagger_of_another_kind_and_what_is_none_are_refused(workspace: Workspace) -> None:
    put(workspace.taggers / "sentences", BLIP)
    put(workspace.taggers / "empty", {})
    assert code(find_tagger, options("wd14", "sentences"), workspace) == "tagger.wrong_kind"
    assert code(find_tagger, options("wd14", "empty"), workspace) == "tagger.unusable"


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "tokenizer_config.json", "processor_config.json"])
def test_a_folder_that_brings_program_code_is_refused(workspace: Workspace, file: str) -> None:
    coded = {"model_type": "florence2", "auto_map": {"AutoModel": "modeling.Model"}}
    folder = put(workspace.taggers / "coded", {"config.json": b'{"model_type": "florence2"}'})
    (folder / file).write_text(json.dumps(coded), encoding="utf-8")
    with pytest.raises(ModelError, match="florence-community/Florence-2-base") as caught:
        find_tagger(options("florence2", "coded"), workspace)
    assert caught.value.code == "tagger.remote_code"


def test_another_file_is_another_tagger(tmp_path: Path) -> None:
    one = identity(save_tagger(tmp_path / "a"))
    assert one == identity(tmp_path / "a") != identity(save_tagger(tmp_path / "b"))
    (tmp_path / "a" / "selected_tags.csv").write_text("name,category\n", encoding="utf-8")
    assert identity(tmp_path / "a") != one


# ---- Hugging Face ----


def test_a_tagger_is_fetched_once_and_only_what_is_needed(workspace: Workspace, hub: FileServer, tmp_path: Path) -> None:
    made = save_tagger(tmp_path / "made")
    files = {file.name: file.read_bytes() for file in made.iterdir()}
    hub.put_repository("SmilingWolf/wd-tiny", {**files, "model.safetensors": WEIGHTS, "config.json": b"{}", "README.md": b"#"})
    wanted = options("wd14", "SmilingWolf/wd-tiny")
    assert find_tagger(wanted, workspace) is None
    told: list[dict[str, Any]] = []
    folder = fetch_tagger(wanted, workspace, told.append)
    assert (
        folder
        == workspace.taggers / "wd-tiny"
        == find_tagger(wanted, workspace)
        == find_tagger(options("wd14", "wd-tiny"), workspace)
    )
    assert {file.name for file in folder.iterdir()} == {*files, ".download.json"}
    assert told[-1]["done"] == told[-1]["total"] == sum(map(len, files.values())) and told[-1]["plan"]["family"] == "wd14"
    assert find_tagger(options("wd14", "other/wd-tiny"), workspace) is None, "of another owner it is another one"


def test_of_a_captioner_settings_and_safe_weights_are_fetched(workspace: Workspace, hub: FileServer) -> None:
    hub.put_repository("a/blip-tiny", BLIP)
    folder = fetch("blip", "a/blip-tiny", workspace)
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json", "vocab.txt", ".download.json"}
    assert {file.name for file in folder.iterdir()} == wanted and (folder / "tokenizer.json").read_bytes() == b"{}"


def test_stopped_it_is_no_tagger_and_goes_on(workspace: Workspace, hub: FileServer) -> None:
    hub.put_repository("a/blip-tiny", BLIP)

    def stop(progress: dict[str, Any]) -> None:
        if progress["done"]:
            raise Interrupted("job.interrupted", "Stopped.")

    with pytest.raises(Interrupted):
        fetch_tagger(options("blip", "a/blip-tiny"), workspace, stop)
    assert find_tagger(options("blip", "a/blip-tiny"), workspace) is None and not list(workspace.taggers.glob("[!.]*"))
    fetch("blip", "a/blip-tiny", workspace)


@pytest.mark.parametrize(
    ("kind", "change", "wanted"),
    [
        ("wd14", {}, "tagger.wrong_kind"),
        ("blip", {"config.json": b'{"model_type": "blip", "auto_map": {}}'}, "tagger.remote_code"),
        ("blip", {"config.json": b'{"model_type": "bert"}'}, "tagger.unusable"),
        ("blip", {"model.safetensors": None}, "tagger.unusable"),
    ],
)
def test_what_cannot_be_used_is_not_brought(
    workspace: Workspace, hub: FileServer, kind: str, change: dict[str, Any], wanted: str
) -> None:
    files = {name: content for name, content in {**BLIP, **change}.items() if content is not None}
    hub.put_repository("a/blip-tiny", files)
    assert code(fetch, kind, "a/blip-tiny", workspace) == wanted
    assert not list(workspace.taggers.glob("[!.]*"))


def test_without_a_network_it_says_where_the_files_belong(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with pytest.raises(ModelError, match="models/taggers/blip-tiny") as caught:
        fetch("blip", "a/blip-tiny", workspace)
    assert caught.value.code == "tagger.offline"
    put(workspace.taggers / "blip-tiny", BLIP)
    assert find_tagger(options("blip", "a/blip-tiny"), workspace) == workspace.taggers / "blip-tiny", (
        "put there by hand it is found"
    )


def test_one_that_is_not_there_or_private_is_told_at_the_field(workspace: Workspace, hub: FileServer) -> None:
    assert code(fetch, "blip", "nobody/nothing", workspace) == "download.not_found"
