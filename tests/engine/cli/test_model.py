"""`python -m engine model`: make, list, inspect, save."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from engine.__main__ import main
from engine.config.adapter import LoraOptions
from engine.families import load_model
from engine.formats.safetensors_header import read_header
from tests.engine.tools.conftest import random_lora


def call(capsys: pytest.CaptureFixture, *words: object) -> tuple[int, str, str]:
    code = main(["model", *map(str, words)])
    return code, *capsys.readouterr()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "data" / "models" / "checkpoints"


def test_make_list_inspect(shelf: Path, capsys: pytest.CaptureFixture) -> None:
    data = ("--data-dir", shelf.parents[1])
    for words in (("sd2", shelf / "two", "--variant", "v"), ("sd1", shelf / "one.safetensors", "--single-file", "--seed", "3")):
        code, told, _ = call(capsys, "make-tiny", *words)
        assert code == 0 and Path(told.strip()) == words[1]
    (shelf / "broken.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))
    code, told, _ = call(capsys, "list", "--json", *data)
    assert code == 0
    rows = {row["name"]: row for row in json.loads(told)}
    assert {name: row["family"] for name, row in rows.items()} == {
        "starter": "sd1", "two": "sd2", "one.safetensors": "sd1", "broken.safetensors": "",
    }  # fmt: skip
    assert "zip archive" in rows["broken.safetensors"]["problem"] and not rows["two"]["problem"]
    code, told, _ = call(capsys, "list", *data)
    assert [line.split()[0] for line in told.splitlines()] == list(rows)
    code, told, _ = call(capsys, "inspect", "two", *data)
    assert code == 0 and "Stable Diffusion 2.x 768 v" in told and "v_prediction" in told and "fp32" in told
    code, told, _ = call(capsys, "inspect", "one", "--json", "--hash", *data)
    assert json.loads(told)["family"] == "Stable Diffusion 1.x" and len(json.loads(told)["sha256"]) == 64


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("make-tiny", "sd1"), 2, "FAMILY DIR"),
        (("inspect",), 2, "MODEL"),
        (("list", "more"), 2, "nothing"),
        (("make-tiny", "sd9", "x"), 2, "sdxl"),
        (("inspect", "nothing-like-it"), 2, "nothing-like-it"),
        (("inspect", "nobody/has-this"), 2, "on this machine"),
    ],
)
def test_what_is_wrong_is_told(
    words: tuple[str, ...], code: int, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    found, _, told = call(capsys, *words, "--data-dir", tmp_path)
    assert found == code and reason in told and told.count("\n") == 1


def test_save_as_one_file_with_a_lora_in_it(shelf: Path, capsys: pytest.CaptureFixture) -> None:
    data = ("--data-dir", shelf.parents[1])
    call(capsys, "make-tiny", "flux", shelf / "first")
    model = load_model(shelf / "first", torch.device("cpu"), torch.float32)
    random_lora(shelf.parents[1] / "loras" / "a.safetensors", model, LoraOptions(rank=2))
    words = ("save", "first", "second.safetensors", "--precision", "bf16", "--lora", "a:0.5", "--json", *data)
    code, told, _ = call(capsys, *words)
    result = json.loads(told[told.index("{") :])
    assert code == 0 and result["file"] == "second.safetensors"
    (file,) = result["report"]["files"]
    assert (file["file"], file["matched"]) == ("a", file["total"])
    assert read_header(shelf / "second.safetensors").metadata["modelspec.merged_from"] == "first, a"
    code, _, _ = call(capsys, "save", "second", "third", "--layout", "folder", *data)
    assert code == 0 and (shelf / "third" / "model_index.json").is_file()
    code, _, told = call(capsys, "save", "first", "fourth", *data)
    assert code == 2 and "would stay as it is" in told
