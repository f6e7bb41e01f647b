"""Which files of a repository are needed: lists of files as the published models have them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.downloads.hub import Listing, list_repository, model_of, needed_files, not_diffusers
from engine.downloads.sites import Sites
from engine.downloads.source import HubModel
from engine.downloads.web import Web
from engine.errors import EngineError
from engine.formats.models import MODELS
from tests.support.file_server import FileServer

REPOSITORIES = json.loads((Path(__file__).parents[2] / "fixtures" / "hub_repositories.json").read_text(encoding="utf-8"))
SDXL, FLUX, HALF = REPOSITORIES.values()


def test_of_sdxl_the_plain_files_without_their_twins() -> None:
    not_read = r"[^/]*|vae_.*|.*\.(fp16\.safetensors|msgpack|onnx|onnx_data|bin|xml)"
    needed = [path for path in SDXL if path == "model_index.json" or not re.fullmatch(not_read, path)]
    assert sorted(needed_files("a/b", SDXL, MODELS["sdxl"])) == sorted(needed) and len(needed) == 18


def test_of_flux_the_shards_with_their_index_and_the_vocabulary_of_t5() -> None:
    extra = {"README.md", "ae.safetensors", "dev_grid.jpg", "flux1-dev.safetensors"}
    assert set(needed_files("a/b", FLUX, MODELS["flux"])) == set(FLUX) - extra


def test_half_precision_where_there_is_nothing_else() -> None:
    needed = set(needed_files("a/b", HALF, MODELS["sd1"]))
    assert needed == {path for path in HALF if path.startswith(("model_index", "scheduler/", "tokenizer/"))} | {
        *(f"{part}/config.json" for part in ("text_encoder", "unet", "vae")), "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors",
    }  # fmt: skip


def test_parts_that_a_family_can_do_without() -> None:
    whole = [*SDXL, *(path.replace("text_encoder/", "text_encoder_3/") for path in SDXL if path.startswith("text_encoder/"))]
    whole += [path.replace("unet/", "transformer/") for path in SDXL if path.startswith("unet/")]
    whole += [path.replace("tokenizer/", "tokenizer_3/") for path in SDXL if path.startswith("tokenizer/")]
    less = [path for path in whole if not path.startswith(("text_encoder_3/", "tokenizer_3/"))]
    assert "text_encoder_3/model.safetensors" in needed_files("a/b", whole, MODELS["sd3"])
    assert set(needed_files("a/b", less, MODELS["sd3"])) == {
        path for path in needed_files("a/b", whole, MODELS["sd3"]) if not path.startswith(("text_encoder_3/", "tokenizer_3/"))
    }


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        ("unet/config.json", "unet"),
        ("vae/diffusion_pytorch_model", "vae"),
        ("text_encoder_2/", "text_encoder_2"),
        ("tokenizer/", "tokenizer"),
        ("scheduler/", "scheduler/scheduler_config.json"),
    ],
)
def test_a_repository_that_lacks_something_is_not_begun(gone: str, missing: str) -> None:
    with pytest.raises(EngineError) as told:
        needed_files("a/b", [path for path in SDXL if not path.startswith(gone)], MODELS["sdxl"])
    assert told.value.code == "download.incomplete" and told.value.values["missing"] == missing


def listing(server: FileServer, sites: Sites) -> Listing:
    with Web(sites, "a/b", pause=0.0) as web:
        return list_repository(web, HubModel("a/b"))


def test_a_listing_holds_sizes_and_hashes(server: FileServer, sites: Sites) -> None:
    server.put_repository("a/b", {"model_index.json": b"{}", "unet/model file.safetensors": b"1234"})
    found = listing(server, sites)
    assert found.commit == "a" * 40 and found.files["model_index.json"].sha256 == ""
    file = found.files["unet/model file.safetensors"]
    assert file.size == 4 and len(file.sha256) == 64
    assert file.address == f"{server.origin}/a/b/resolve/{'a' * 40}/unet/model%20file.safetensors"


def test_paths_that_leave_the_folder_are_not_listed(server: FileServer, sites: Sites) -> None:
    bad = ["../x.safetensors", "/etc/x", "unet/../../x", "unet\\x", "C:x", "a//b", "x\0y"]
    siblings = [{"rfilename": path, "size": 1} for path in [*bad, "fine.json"]]
    server.put_json("/api/models/a/b/revision/main", {"sha": "b" * 40, "siblings": siblings})
    assert set(listing(server, sites).files) == {"fine.json"}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"sha": "main", "siblings": []},
        {"sha": "a" * 40, "siblings": [{"rfilename": "x"}]},
        {"sha": "a" * 40, "siblings": 5},
    ],
)
def test_a_strange_answer(server: FileServer, sites: Sites, answer: object) -> None:
    server.put_json("/api/models/a/b/revision/main", answer)
    with pytest.raises(EngineError) as told:
        listing(server, sites)
    assert told.value.code == "download.strange_answer"


@pytest.mark.parametrize(
    ("index", "code"),
    [
        ({"_class_name": "StableVideoDiffusionPipeline"}, "model.wrong_family"),
        ([], "model.wrong_family"),
        (None, "download.not_diffusers"),
    ],
)
def test_what_is_no_known_model(server: FileServer, sites: Sites, index: object, code: str) -> None:
    files = {"b.safetensors": b"", "a.safetensors": b""} | ({} if index is None else {"model_index.json": b""})
    server.put_repository("a/b", files)
    server.put_json(f"/a/b/resolve/{'a' * 40}/model_index.json", index)
    with pytest.raises(EngineError) as told, Web(sites, "a/b", pause=0.0) as web:
        model_of(web, listing(server, sites))
    assert told.value.code == code
    if index is None:
        assert told.value.values["files"] == "a.safetensors, b.safetensors" and "a/b/a.safetensors" in told.value.todo


def test_a_repository_without_any_weights() -> None:
    assert "owner/name/file.safetensors" in not_diffusers("owner/name", ["README.md"]).todo
