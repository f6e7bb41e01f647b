from __future__ import annotations

import pytest
import torch

from engine.config.adapter import DyloraOptions, LohaOptions
from engine.errors import AdapterError
from engine.formats.adapter_file import read_adapter
from engine.workspace import Workspace
from tests.engine.tools.conftest import MakeLora, Use


def test_the_leading_ranks_stay_as_they_are(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    a = make_lora("a", DyloraOptions(rank=6, alpha=3, conv_rank=6, conv_alpha=2), dtype=torch.float16)
    report = use("cut", file="a", rank=2)
    before, after = read_adapter(a), read_adapter(workspace.loras / "made.safetensors")
    assert before.modules.keys() == after.modules.keys() and report["modules"] == len(after.modules)
    for name, parts in after.modules.items():
        old = before.modules[name]
        assert torch.equal(parts["lora_down.weight"], old["lora_down.weight"][:2])
        assert torch.equal(parts["lora_up.weight"], old["lora_up.weight"][:, :2])
        assert float(parts["alpha"]) / 2 == pytest.approx(float(old["alpha"]) / 6)
    assert after.metadata["ss_network_dim"] == "2" and after.metadata["ss_network_alpha"] == "Dynamic"
    assert report["rank_lowest_before"] == report["rank_highest_before"] == 6 and report["rank_highest"] == 2


def test_what_cannot_be_cut(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    make_lora("a", DyloraOptions(rank=4))
    make_lora("b", LohaOptions(rank=4))
    for file, rank, code in (("a", 5, "tool.rank_too_high"), ("b", 2, "tool.not_lora")):
        with pytest.raises(AdapterError) as told:
            use("cut", file=file, rank=rank)
        assert told.value.code == code
    assert not (workspace.loras / "made.safetensors").exists()
