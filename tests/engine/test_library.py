"""What is at hand, read from headers alone: names, problems instead of exceptions, nothing stale, and quick."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import EngineError, ModelError, PathError
from engine.library import adapter_names, adapters, datasets, find_model, models
from engine.model_facts import STARTER, STARTER_FOLDER, missing_parts, model_facts
from engine.workspace import Workspace


def lora(modules: int = 1, width: int = 6, **metadata: str) -> bytes:
    """The bytes of a small adapter file."""
    header, payload = lora_header(modules, width, metadata)
    return header + b"\0" * payload


def lora_header(modules: int, width: int, metadata: dict[str, str]) -> tuple[bytes, int]:
    """The bytes before the tensors, and how many the tensors have."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    position = 0
    for number in range(modules):
        for suffix, shape in {"lora_down.weight": [2, width], "lora_up.weight": [width, 2], "alpha": []}.items():
            size = 4 * math.prod(shape)
            name = f"lora_unet_mid_block_attentions_{number}_proj_in.{suffix}"
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [position, position + size]}
            position += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text, position


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", checkpoint_folder=tmp_path / "ckpt", lora_folder=tmp_path / "extra").prepare()


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def tiny(workspace: Workspace) -> Path:
    """A diffusers folder with the starter's configs and empty weight files: enough for what reads no weights."""
    folder = workspace.root / "models" / "checkpoints" / "tiny"
    for file in STARTER_FOLDER.rglob("*.json"):
        put(folder / file.relative_to(STARTER_FOLDER), file.read_bytes())
    for part in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"):
        put(folder / f"{part}.safetensors", lora())
    return folder


# ---- adapters ----


def test_adapters_of_all_folders_newest_first(workspace: Workspace, tmp_path: Path) -> None:
    files = [
        put(workspace.loras / "old.safetensors", lora()),
        put(workspace.loras / "characters" / "deep" / "cat.safetensors", lora(2, ss_output_name="the-cat")),
        put(tmp_path / "extra" / "given.safetensors", lora()),
    ]
    put(workspace.loras / ".hidden" / "x.safetensors", lora())
    put(workspace.loras / ".part.safetensors", lora())
    put(workspace.loras / "readme.txt", b"no")
    for age, file in enumerate(files):
        os.utime(file, (1000 + age, 1000 + age))
    cards = adapters(workspace)
    assert [card.name for card in cards] == ["given", "cat", "old"]
    assert all(card.problem is None for card in cards)
    assert cards[1].summary and cards[1].summary.modules == {"unet": 2} and cards[1].summary.output_name == "the-cat"
    names = adapter_names(workspace)
    assert names == {
        "characters/deep/cat": (files[1], "the-cat"), "old": (files[0], None), "given": (files[2], None),
    }  # fmt: skip


def test_broken_adapters_are_listed_with_their_problem(workspace: Workspace) -> None:
    put(workspace.loras / "cut.safetensors", lora()[:-5])
    put(workspace.loras / "empty.safetensors", b"")
    put(workspace.loras / "page.safetensors", b"<html>404</html>")
    other = json.dumps({"model.x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    put(workspace.loras / "model.safetensors", len(other).to_bytes(8, "little") + other + b"\0" * 4)
    (workspace.loras / "dangling.safetensors").symlink_to(workspace.loras / "nowhere")
    problems = {card.name: card.problem.code for card in adapters(workspace) if card.problem}
    assert problems == {
        "cut": "file.truncated", "empty": "file.truncated", "page": "file.not_safetensors", "model": "adapter.not_an_adapter",
    }  # fmt: skip
    assert set(adapter_names(workspace)) == set(problems)  # a tag that names one is told why it is not in force


def test_a_replaced_file_is_read_again_and_an_unchanged_one_is_not(workspace: Workspace) -> None:
    file = put(workspace.loras / "x.safetensors", lora(1))
    (first,) = adapters(workspace)
    (same,) = adapters(workspace)
    assert same is first
    put(file, lora(3))
    (second,) = adapters(workspace)
    assert second.summary and second.summary.modules == {"unet": 3}
    file.unlink()
    assert adapters(workspace) == []


def test_the_workspaces_own_file_wins_over_one_of_the_same_name(workspace: Workspace, tmp_path: Path) -> None:
    put(tmp_path / "extra" / "x.safetensors", lora(1))
    own = put(workspace.loras / "x.safetensors", lora(2))
    assert adapter_names(workspace)["x"][0] == own


def test_two_hundred_files_are_listed_by_their_headers_alone(workspace: Workspace) -> None:
    """Each has 264 modules and claims 100 MB, so that reading more than headers would not end; the yardstick is plain JSON."""
    metadata = {"ss_output_name": "x", "ss_tag_frequency": json.dumps({"1_x": {f"tag {n}": n for n in range(200)}})}
    header, payload = lora_header(264, 50_000, metadata)
    for number in range(200):
        with (workspace.loras / f"{number:03}.safetensors").open("wb") as stream:
            stream.write(header)
            stream.truncate(len(header) + payload)  # a hole: takes no room on the disk

    def seconds(work: Callable[[], object]) -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    parsing = seconds(lambda: [json.loads(header[8:]) for _ in range(200)])
    cold = seconds(lambda: adapters(workspace))
    assert cold < max(1, 6 * parsing)
    assert len(adapters(workspace)) == 200 and not any(card.problem for card in adapters(workspace))
    assert seconds(lambda: adapter_names(workspace)) < max(0.1, 0.2 * parsing)


# ---- base models ----


def test_models_with_the_starter_first_and_broken_ones_with_their_problem(
    workspace: Workspace, tiny: Path, tmp_path: Path
) -> None:
    checkpoints = workspace.root / "models" / "checkpoints"
    put(checkpoints / "a-lora.safetensors", lora())
    put(checkpoints / "sub" / "cut.safetensors", lora()[:-1])
    partly = json.dumps({"model.diffusion_model.x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    put(tmp_path / "ckpt" / "strange.safetensors", len(partly).to_bytes(8, "little") + partly + b"\0" * 4)
    put(tmp_path / "ckpt" / "half" / "model_index.json", b"{}")
    cards = models(workspace)
    assert cards[0].name == STARTER and cards[0].family == "sd1" and cards[0].problem is None
    found = {card.name: card.problem.code if card.problem else card.family for card in cards[1:]}
    assert found == {
        "tiny": "sd1", "a-lora.safetensors": "model.is_adapter", "sub/cut.safetensors": "file.truncated",
        "strange.safetensors": "model.unknown_family", "half": "model.bad_folder",
    }  # fmt: skip
    assert all(card.problem.values["field"] == "model.path" for card in cards if card.problem)


def test_facts_of_the_starter() -> None:
    facts = model_facts(STARTER_FOLDER)
    assert facts.practice and facts.name == STARTER and facts.family == "sd1"
    assert facts.resolution % facts.step == 0 and facts.step % facts.factor == 0
    assert missing_parts(STARTER_FOLDER) == []


def test_a_copy_of_the_starter_is_a_model_of_its_own(tiny: Path) -> None:
    facts = model_facts(tiny)
    assert facts.name == "tiny" and not facts.practice


def test_a_folder_that_lacks_a_part_names_it(tiny: Path) -> None:
    (tiny / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert missing_parts(tiny) == ["vae/*.safetensors"]
    with pytest.raises(ModelError, match=r"vae/\*\.safetensors"):
        model_facts(tiny)


def test_ways_to_name_a_model(workspace: Workspace, tiny: Path, tmp_path: Path) -> None:
    own = put(workspace.root / "models" / "checkpoints" / "anime" / "v1.5.safetensors", lora())
    put(tmp_path / "ckpt" / "anime" / "v1.5.safetensors", lora())
    given = put(tmp_path / "ckpt" / "given.safetensors", lora())
    assert find_model("starter", workspace) == find_model(" starter ", workspace) == STARTER_FOLDER
    assert find_model("tiny", workspace) == tiny
    assert find_model("anime/v1.5.safetensors", workspace) == find_model("v1.5", workspace) == own
    assert find_model("given.safetensors", workspace) == find_model("given", workspace) == given
    assert find_model(str(own), workspace) == own
    assert find_model("someone/some-model", workspace) == "someone/some-model"


@pytest.mark.parametrize("name", ["", "nothing", "v1", "nothing.safetensors", "../x", "a/b/c", "../../etc/passwd"])
def test_what_is_no_model(workspace: Workspace, name: str) -> None:
    put(workspace.root / "models" / "checkpoints" / "v1.5", b"a file without an ending")
    with pytest.raises(EngineError) as caught:
        find_model(name, workspace)
    assert caught.value.code in ("model.not_found", "path.not_allowed") and caught.value.values["field"] == "model.path"


def test_paths_of_others_are_not_looked_at(workspace: Workspace, tmp_path: Path) -> None:
    remote = Workspace(workspace.root, remote=True)
    outside = put(tmp_path / "outside" / "x.safetensors", lora())
    for path in (outside, outside.with_name("not-there.safetensors")):
        with pytest.raises(PathError) as caught:
            find_model(str(path), remote)
        assert caught.value.code == "path.not_allowed" and caught.value.values["field"] == "model.path"


# ---- datasets ----


def test_datasets_shipped_ones_first(workspace: Workspace) -> None:
    for name in ("photos", "10_robot", ".cache"):
        (workspace.root / "datasets" / name).mkdir()
    put(workspace.root / "datasets" / "a file", b"")
    found = datasets(workspace)
    assert found[:2] == ["practice/mascot", "practice/style"] and found[2:] == ["10_robot", "photos"]
    assert all(workspace.dataset_folder(name).is_dir() for name in found)


def test_listing_needs_no_torch() -> None:
    code = (
        "import sys, engine.library, engine.preflight; print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
