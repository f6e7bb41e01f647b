"""What cannot be loaded as a base model, each said at the field where the model is chosen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import ModelError
from engine.families import FAMILIES, load_model
from engine.formats.models import MODELS
from engine.model_facts import model_facts
from tests.support.tiny import tiny_sd1, tiny_sd1_single_file

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd1_single_file(tmp_path_factory.mktemp("single") / "tiny.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd1(tmp_path_factory.mktemp("whole") / "tiny")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


def refused(location: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model(location, CPU, torch.float32)
    assert caught.value.values["field"] == "model.path"
    assert location.name in caught.value.what
    return caught.value


def test_every_family_the_library_offers_can_be_loaded() -> None:
    assert set(MODELS) == set(FAMILIES)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[: len(data) // 2], "file.truncated"),
        (lambda data: data[:100], "file.truncated"),
        (lambda data: b"", "file.truncated"),
        (lambda data: b"\x80\x02}q\x00." + data, "file.not_safetensors"),
        (lambda data: b"<!doctype html>" + data, "file.not_safetensors"),
    ],
    ids=["half", "head", "empty", "pickle", "web page"],
)
def test_damaged_files(single: Path, tmp_path: Path, change, code: str) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(change(single.read_bytes()))
    assert refused(path).code == code


LORA = {"lora_unet_mid_block_x.lora_down.weight": torch.ones(2, 4), "lora_unet_mid_block_x.lora_up.weight": torch.ones(4, 2)}


@pytest.mark.parametrize(
    ("tensors", "code", "said"),
    [
        (LORA, "model.is_adapter", "LoRA"),
        ({"conditioner.embedders.0.x": torch.ones(1), "model.diffusion_model.x": torch.ones(1)}, "model.no_denoiser", "SDXL"),
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.ones(1)}, "model.unknown_family", "SDXL"),
        ({"model.diffusion_model.strange_blocks.0.x": torch.ones(1)}, "model.unknown_family", "not known"),
        ({"something.else": torch.ones(1)}, "model.not_a_checkpoint", "unknown"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, tensors: dict, code: str, said: str) -> None:
    save_file(tensors, tmp_path / "x.safetensors")
    error = refused(tmp_path / "x.safetensors")
    assert error.code == code and said in str(error)


def test_a_checkpoint_with_a_part_of_a_part_missing(single: Path, tmp_path: Path) -> None:
    tensors = load_file(single)
    del tensors["first_stage_model.decoder.conv_in.weight"]
    save_file(tensors, tmp_path / "x.safetensors")
    assert refused(tmp_path / "x.safetensors").code == "model.incomplete"
    tensors = {name: tensor for name, tensor in load_file(single).items() if not name.endswith(".out.2.weight")}
    save_file(tensors, tmp_path / "y.safetensors")
    with pytest.raises(ModelError) as caught:  # already from the header
        model_facts(tmp_path / "y.safetensors")
    assert caught.value.code == "model.bad_shape" and caught.value.values["field"] == "model.path"


def test_a_pickle_is_not_read_as_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"PK\x03\x04")
    assert refused(tmp_path / "x.ckpt").code == "file.not_safetensors"


@pytest.mark.parametrize(
    "lost",
    [
        "model_index.json", "unet/config.json", "vae/config.json", "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "text_encoder/config.json",
        "scheduler/scheduler_config.json",
    ],
)  # fmt: skip
def test_a_folder_without_one_of_its_parts(folder: Path, lost: str) -> None:
    (folder / lost).unlink()
    error = refused(folder)
    assert error.code == "model.bad_folder" and lost.partition("/")[0] in error.what


def test_a_folder_without_its_tokenizer(folder: Path) -> None:
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    assert "tokenizer" in refused(folder).what


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_folder_with_a_damaged_part(folder: Path, part: str) -> None:
    (file,) = (folder / part).glob("*.safetensors")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert refused(folder).code == "model.broken_folder"
    tensors = load_file_from(data, folder / "whole.safetensors")
    lost = next(iter(tensors))
    del tensors[lost]
    save_file(tensors, file, {"format": "pt"})
    error = refused(folder)
    assert error.code == "model.broken_folder" and lost.removeprefix("text_model.") in error.what


def load_file_from(data: bytes, path: Path) -> dict[str, torch.Tensor]:
    path.write_bytes(data)
    return load_file(path)


def test_folders_of_unknown_families(folder: Path) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "KandinskyPipeline"}))
    error = refused(folder)
    assert error.code == "model.wrong_family" and "Kandinsky" in error.what


@pytest.mark.parametrize("text", ["", "[]", "{", '{"_class_name": 3}'])
def test_a_folder_with_a_senseless_index(folder: Path, text: str) -> None:
    (folder / "model_index.json").write_text(text)
    assert refused(folder).code in ("model.bad_folder", "model.wrong_family")
