from __future__ import annotations

import pytest
import torch

from engine.config.adapter import LohaOptions, LoraOptions
from engine.families.base import Family
from engine.workspace import Workspace
from tests.engine.tools.conftest import MakeLora, Use, deltas, total


def test_the_second_and_the_difference_make_the_first(make_lora: MakeLora, use: Use, model: Family, workspace: Workspace) -> None:
    a = make_lora("a", LoraOptions(rank=3, alpha=2, train_text_encoder=True))
    b = make_lora("b", LohaOptions(rank=2, alpha=1), seed=1)
    report = use("difference", file="a", other="b", model="file")
    first, second, made = deltas(a, model), deltas(b, model), deltas(workspace.loras / "made.safetensors", model)
    zero = torch.zeros(())
    assert all(torch.allclose(made[key], first[key] - second.get(key, zero), atol=1e-6) for key in made)
    assert made.keys() == first.keys() | second.keys() and report["same"] == 0
    squares = sum(block["size"] ** 2 for block in report["blocks"].values())
    assert squares**0.5 == pytest.approx(total(made), rel=1e-5)
    assert report["blocks"]["text 0"]["relative"] == pytest.approx(1), "the second does not change the text encoder"


def test_equal_files_have_none(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    make_lora("a")
    make_lora("b")
    report = use("difference", file="a", other="b")
    assert report["modules"] == 0 and report["same"] > 0 and not any(block["size"] for block in report["blocks"].values())
    assert not (workspace.loras / "made.safetensors").exists()
