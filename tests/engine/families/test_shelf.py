"""One model in memory: loaded when it is another one or its files changed, and let go of before the next is loaded."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch

from engine.errors import ModelError
from engine.families.shelf import ModelShelf
from tests.support.tiny import tiny_sd1

CPU = torch.device("cpu")


def test_a_shelf_holds_one_model(tmp_path: Path) -> None:
    folder, shelf = tiny_sd1(tmp_path / "a"), ModelShelf()
    assert not shelf.holds(folder, CPU, torch.float32)
    model = weakref.ref(shelf.take(folder, CPU, torch.float32))
    assert shelf.holds(folder, CPU, torch.float32) and shelf.take(folder, CPU, torch.float32) is model()
    assert not shelf.holds(folder, CPU, torch.bfloat16)
    assert shelf.take(folder, CPU, torch.bfloat16).dtype == torch.bfloat16
    assert model() is None
    tiny_sd1(folder, seed=1)
    assert not shelf.holds(folder, CPU, torch.bfloat16)
    other = weakref.ref(shelf.take(folder, CPU, torch.bfloat16))
    shelf.clear()
    assert other() is None and not shelf.holds(folder, CPU, torch.bfloat16)


def test_a_model_that_cannot_be_loaded_leaves_an_empty_shelf(tmp_path: Path) -> None:
    folder, shelf = tiny_sd1(tmp_path / "a"), ModelShelf()
    shelf.take(folder, CPU, torch.float32)
    (folder / "model_index.json").unlink()
    with pytest.raises(ModelError):
        shelf.take(folder, CPU, torch.float32)
    assert not shelf.holds(folder, CPU, torch.float32)
