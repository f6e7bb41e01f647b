"""Saved states: whole or not there, the previous one kept, damage noticed."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from engine.config.train import AdamW
from engine.errors import EngineError
from engine.training.optimizers import OPTIMIZERS
from engine.training.state import RunState, describe_identity, load_state, optimizer_tensors, restore_optimizer, save_state

IDENTITY = {"settings": "a", "pictures": "b"}


def state(step: int, identity: dict[str, str] = IDENTITY) -> RunState:
    generator = torch.Generator().manual_seed(step)
    adapter = {
        "x.lora_down.weight": torch.randn(4, 8, generator=generator),
        "x.lora_up.weight": torch.randn(8, 4, generator=generator),
    }
    return RunState(step, identity, adapter, {"0.step": torch.tensor(float(step))}, {"0.note": 0.1}, {"scale": 2.0**16}, 7, 1.5)


def assert_same(read: RunState | None, written: RunState) -> None:
    assert read
    for name in ("step", "identity", "numbers", "scaler", "session", "started"):
        assert getattr(read, name) == getattr(written, name)
    for tensors in ("adapter", "optimizer"):
        one, other = getattr(read, tensors), getattr(written, tensors)
        assert one.keys() == other.keys() and all(
            torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one
        )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_state(tmp_path, state(3))
    read, damaged = load_state(tmp_path, IDENTITY)
    assert_same(read, state(3))
    assert damaged == []


def test_no_state_is_no_state(tmp_path: Path) -> None:
    assert load_state(tmp_path, IDENTITY) == (None, [])


def test_the_newest_counts_and_one_before_is_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_state(tmp_path, state(step))
    assert {folder.name for folder in tmp_path.iterdir()} == {"state", "state.previous"}
    assert_same(load_state(tmp_path, IDENTITY)[0], state(3))
    shutil.rmtree(tmp_path / "state")  # killed between two renames
    assert_same(load_state(tmp_path, IDENTITY)[0], state(2))


@pytest.mark.parametrize("file", ["adapter.safetensors", "optimizer.safetensors", "state.json"])
def test_any_flipped_bit_or_cut_falls_back_to_the_one_before(tmp_path: Path, file: str) -> None:
    for step in (1, 2):
        save_state(tmp_path, state(step))
    path, rng = tmp_path / "state" / file, random.Random(file)
    whole = path.read_bytes()
    damages = [whole[: rng.randrange(len(whole))] for _ in range(10)] + [b""]
    for _ in range(40):
        place, bit = rng.randrange(len(whole)), rng.randrange(8)
        damages.append(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
    for damage in damages:
        path.write_bytes(damage)
        read, damaged = load_state(tmp_path, IDENTITY)
        # A flipped bit between the words of JSON may change nothing; nothing else may be read from a damaged file.
        assert_same(read, state(1 if damaged else 2))
        assert damaged == ["state"] or json.loads(damage) == json.loads(whole)


def test_both_damaged_is_told_and_none_is_loaded(tmp_path: Path) -> None:
    for step in (1, 2):
        save_state(tmp_path, state(step))
    (tmp_path / "state" / "state.json").write_text("[]")
    (tmp_path / "state.previous" / "adapter.safetensors").unlink()
    assert load_state(tmp_path, IDENTITY) == (None, ["state", "state.previous"])


@pytest.mark.parametrize("content", ["null", "[1]", "{}", '{"sha256": 5}', '{"sha256": {}}', "[" * 100_000])
def test_foreign_files_are_damage_not_crashes(tmp_path: Path, content: str) -> None:
    save_state(tmp_path, state(1))
    (tmp_path / "state" / "state.json").write_text(content)
    assert load_state(tmp_path, IDENTITY) == (None, ["state"])


def test_a_save_that_fails_leaves_the_states_as_they_were(tmp_path: Path) -> None:
    for step in (1, 2):
        save_state(tmp_path, state(step))
    with pytest.raises(TypeError):
        save_state(tmp_path, RunState(3, IDENTITY, state(3).adapter, {}, {"0.x": object()}, {}, 0, 0))
    assert_same(load_state(tmp_path, IDENTITY)[0], state(2))
    save_state(tmp_path, state(3))
    assert_same(load_state(tmp_path, IDENTITY)[0], state(3))


@pytest.mark.parametrize("identity", [{"settings": "x", "pictures": "b"}, {"settings": "a"}, {**IDENTITY, "threads": "2"}])
def test_a_state_of_another_run_is_refused(tmp_path: Path, identity: dict[str, str]) -> None:
    save_state(tmp_path, state(1))
    with pytest.raises(EngineError) as caught:
        load_state(tmp_path, identity)
    assert caught.value.code == "resume.changed"
    assert all(name in str(caught.value) for name in dict(identity.items() ^ IDENTITY.items()))


def test_identity_compares_values_whatever_their_length_and_order() -> None:
    one, other = ({"a": 1, "b": "x" * 500}, {"b": "x" * 500, "a": 1})
    assert describe_identity(s=one, t="2.0") == describe_identity(s=other, t="2.0")
    assert describe_identity(s=one) != describe_identity(s={**one, "a": 2})
    assert all(len(text) <= 100 for text in describe_identity(s=one).values())


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_goes_on_as_if_it_had_not_been_stopped(kind: str) -> None:
    if kind == "adamw8bit":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not made for this system")
    shapes = [(3, 5), (80, 60), (3, 5)]  # 8 bits begin at 4096 numbers

    def make() -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
        generator = torch.Generator().manual_seed(0)
        parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        groups = [{"params": parameters[:2], "lr": 0.1, "peak": 0.1}, {"params": parameters[2:], "lr": 0.01, "peak": 0.01}]
        return parameters, OPTIMIZERS[kind](groups, AdamW(weight_decay=0.1))

    def go(parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            for index, parameter in enumerate(parameters):
                parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * step + index))
            optimizer.step()

    straight, optimizer = make()
    go(straight, optimizer, range(6))
    stopped, before = make()
    go(stopped, before, range(3))
    tensors, numbers = optimizer_tensors(before)
    assert any(tensor.dtype == torch.uint8 for tensor in tensors.values()) == (kind == "adamw8bit")
    assert json.loads(json.dumps(numbers)) == numbers
    resumed, after = make()
    with torch.no_grad():
        for new, old in zip(resumed, stopped, strict=True):
            new.copy_(old)
    restore_optimizer(after, {name: tensor.clone() for name, tensor in tensors.items()}, numbers)
    go(resumed, after, range(3, 6))
    assert all(torch.equal(one, other) for one, other in zip(straight, resumed, strict=True))
    assert [group["peak"] for group in after.param_groups] == [0.1, 0.01]
