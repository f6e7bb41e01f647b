"""Checkpoints as pickles: what is taken out of them, and what is not even read."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from engine.errors import ModelError
from engine.formats.pickled import convert, converted_file, is_pickled, tensors_in

WEIGHTS = {
    "first_stage_model.x.weight": torch.arange(6.0).view(2, 3),
    "model.diffusion_model.y": torch.ones(2, dtype=torch.float16),
}


def saved(path: Path, content: object, **how: object) -> Path:
    torch.save(content, path, **how)  # type: ignore[arg-type]
    return path


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrapped", [lambda w: w, lambda w: {"state_dict": w, "epoch": 3}, lambda w: {"module": w, "optimizer": {"state": {}}}]
)
def test_the_weights_come_out_whatever_they_are_wrapped_in(tmp_path: Path, wrapped, zipped: bool) -> None:
    path = saved(tmp_path / "x.ckpt", wrapped(WEIGHTS), _use_new_zipfile_serialization=zipped)
    made = convert(path, tmp_path / "cache")
    assert made == converted_file(path, tmp_path / "cache") and made.stem == "x"
    assert same(load_file(made), WEIGHTS)


def test_it_is_converted_once_and_a_new_file_again(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", WEIGHTS)
    made = convert(path, tmp_path / "cache")
    before = made.stat().st_mtime_ns
    assert convert(path, tmp_path / "cache") == made and made.stat().st_mtime_ns == before
    saved(path, {"other": torch.zeros(3)})
    assert convert(path, tmp_path / "cache") != made


def test_weights_that_share_memory_are_written_apart_and_averages_left_out(tmp_path: Path) -> None:
    tensor = torch.arange(8.0)
    path = saved(tmp_path / "x.ckpt", {"a": tensor, "b": tensor[2:4], "c": tensor.view(2, 4).T, "model_ema.a": tensor})
    found = load_file(convert(path, tmp_path))
    assert same(found, {"a": tensor, "b": tensor[2:4], "c": tensor.view(2, 4).T})


class Trap:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return Path.touch, (self.victim,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_nothing_runs(tmp_path: Path, zipped: bool) -> None:
    path = saved(
        tmp_path / "x.ckpt", {"state_dict": WEIGHTS, "hook": Trap(tmp_path / "victim")}, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(ModelError) as caught:
        convert(path, tmp_path / "cache")
    assert caught.value.code == "model.unsafe_pickle" and "x.ckpt" in caught.value.what
    assert not (tmp_path / "victim").exists() and not (tmp_path / "cache").exists()


def test_the_label_in_the_first_checkpoints_of_stable_diffusion_is_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = ModuleType(name)
    label = type("ModelCheckpoint", (), {"__module__": name})
    module.ModelCheckpoint = label  # type: ignore[attr-defined]
    for place in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, place, ModuleType(place))
    monkeypatch.setitem(sys.modules, name, module)
    path = saved(tmp_path / "sd-v1-4.ckpt", {"state_dict": WEIGHTS, "callbacks": {label: {"monitor": "loss"}}})
    monkeypatch.undo()
    assert same(load_file(convert(path, tmp_path)), WEIGHTS)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>404</html>", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        convert(tmp_path / "x.ckpt", tmp_path)
    assert caught.value.code == "model.broken_pickle" and caught.value.values["path"] == "x.ckpt"


def test_half_a_checkpoint(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ckpt", WEIGHTS)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ModelError) as caught:
        convert(path, tmp_path)
    assert caught.value.code == "model.broken_pickle"


def test_an_embedding_keeps_the_name_it_is_known_by() -> None:
    assert list(tensors_in({"string_to_param": {"*": torch.ones(2)}, "name": "x"})) == ["string_to_param.*"]


def test_endings() -> None:
    assert [is_pickled(Path(name)) for name in ("a.ckpt", "a.PT", "a.pth", "a.vae.pt", "a.safetensors")] == [True] * 4 + [False]
