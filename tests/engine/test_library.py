"""What is at hand, read from headers alone: names, problems instead of exceptions, nothing stale, and quick."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.config.choices import ModelChoice
from engine.errors import EngineError, ModelError, PathError
from engine.families import load_model, ready_model
from engine.file_notes import FileNotes
from engine.formats import safetensors_header
from engine.formats.hashes import model_hashes
from engine.library import adapter_names, adapters, choose, datasets, find_model, models, pickles
from engine.model_facts import STARTER, STARTER_FOLDER, missing_parts, model_facts
from engine.workspace import Workspace
from tests.support.tiny import tiny_sd1_single_file


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


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd1_single_file(tmp_path_factory.mktemp("single") / "tiny.safetensors")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose headers are read."""
    seen: list[str] = []
    real = safetensors_header.read_header

    def read(path: Path) -> safetensors_header.Header:
        seen.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(safetensors_header, "read_header", read)
    return seen


def test_cards_say_what_a_model_is(workspace: Workspace, single: Path, tiny: Path) -> None:
    file = put(workspace.root / "models" / "checkpoints" / "tiny.safetensors", single.read_bytes())
    cards = {card.name: card for card in models(workspace)}
    assert cards[STARTER].format == "fp16" and cards[STARTER].size > 10_000_000
    card = cards["tiny.safetensors"]
    assert (card.family, card.title, card.format, card.size) == ("sd1", "Stable Diffusion 1.x", "fp32", file.stat().st_size)
    assert card.sha256 == "" and not card.pickled and not card.unread
    model_hashes(file, FileNotes(workspace.cache))
    assert {card.name: card.sha256 for card in models(workspace)}["tiny.safetensors"] == hashlib.sha256(
        file.read_bytes()
    ).hexdigest()


def test_two_hundred_models_are_read_once_each_by_their_headers(workspace: Workspace, single: Path, reads: list[str]) -> None:
    content = single.read_bytes()
    header = content[: 8 + int.from_bytes(content[:8], "little")]
    for number in range(200):
        with (workspace.root / "models" / "checkpoints" / f"{number:03}.safetensors").open("wb") as stream:
            stream.write(header)
            stream.truncate(len(content))  # a hole where the weights are
    unread = models(workspace, seconds=0)
    assert len(unread) == 201 and all(card.unread and card.size == len(content) for card in unread[1:]) and not reads[1:]
    reads.clear()
    cards = models(workspace)
    assert [card.family for card in cards] == ["sd1"] * 201 and sorted(set(reads)) == sorted(reads) and len(reads) <= 201
    safetensors_header._kept.cache_clear()
    reads.clear()
    assert models(workspace) == cards and not [name for name in reads if name[0].isdigit()]
    os.utime(workspace.root / "models" / "checkpoints" / "007.safetensors", ns=(9, 9))
    models(workspace)
    assert [name for name in reads if name[0].isdigit()] == ["007.safetensors"]


# ---- pickles ----


@pytest.fixture
def pickled(workspace: Workspace, single: Path) -> Path:
    path = workspace.root / "models" / "checkpoints" / "old.ckpt"
    torch.save({"state_dict": load_file(single), "global_step": 7}, path)
    (path.parent / "tokenizers").symlink_to(single.parent / "tokenizers")
    return path


def test_a_pickle_is_listed_and_known_once_it_is_converted(workspace: Workspace, pickled: Path, single: Path) -> None:
    choice = ModelChoice("old")
    assert find_model("old", workspace) == find_model("old.ckpt", workspace) == pickled
    facts = choose(choice, workspace)
    assert facts.family == "" and facts.location == pickled and pickles(choice, workspace) == [pickled]
    (card,) = (card for card in models(workspace) if card.path == pickled)
    assert card.pickled and card.family == "" and card.problem is None
    facts = ready_model(choice, workspace)
    assert facts == choose(choice, workspace) and pickles(choice, workspace) == []
    assert (facts.family, facts.name, facts.location) == ("sd1", "old", pickled)
    assert next(card for card in models(workspace) if card.path == pickled).family == "sd1"
    one, other = (load_model(each, torch.device("cpu"), torch.float32) for each in (single, facts))
    assert one.weights_key == other.weights_key


def test_a_pickled_vae_is_converted_with_the_model_that_wants_it(workspace: Workspace, single: Path, tiny: Path) -> None:
    vae = {key.removeprefix("first_stage_model."): x for key, x in load_file(single).items() if key.startswith("first_stage")}
    path = workspace.root / "models" / "vae" / "bright.vae.pt"
    torch.save({"state_dict": vae | {"loss.logvar": torch.ones(1)}}, path)
    choice = ModelChoice("tiny", "bright.vae")
    assert choose(choice, workspace).family == "" and pickles(choice, workspace) == [path]
    facts = ready_model(choice, workspace)
    assert facts.family == "sd1" and facts.other_vae and facts.other_vae.name == "bright.vae.safetensors"


def test_a_safetensors_file_comes_before_a_pickle_of_the_same_name(workspace: Workspace, pickled: Path, single: Path) -> None:
    better = put(pickled.with_suffix(".safetensors"), single.read_bytes())
    assert find_model("old", workspace) == better and find_model("old.ckpt", workspace) == pickled


# ---- facts ----


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
