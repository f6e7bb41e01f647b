from __future__ import annotations

import pytest
import torch

from engine.config.adapter import LohaOptions, LoraOptions
from engine.errors import AdapterError, ConfigError
from engine.families.base import Family
from engine.formats.adapter_file import read_adapter
from engine.workspace import Workspace
from tests.engine.tools.conftest import MakeLora, Use, deltas


@pytest.mark.parametrize(("reduction", "target"), [("fixed", 0.5), ("sv_ratio", 2.0), ("sv_fro", 0.8), ("sv_cumulative", 0.6)])
def test_each_layer_keeps_the_leading_singular_vectors(
    reduction: str, target: float, make_lora: MakeLora, use: Use, model: Family, workspace: Workspace
) -> None:
    a = make_lora("a", LoraOptions(rank=6, alpha=3, conv_rank=6))
    report = use("resize", file="a", rank=4, conv_rank=3, reduction=reduction, target=target)
    made = workspace.loras / "made.safetensors"
    exact, found, modules = deltas(a, model), deltas(made, model), read_adapter(made).modules
    errors, ranks = {}, set()
    for key, delta in exact.items():
        values = torch.linalg.svdvals(delta.flatten(1))[:6]
        squares = values**2
        asked = {
            "fixed": 6,
            "sv_ratio": int((values > values[0] / target).sum()),
            "sv_fro": int(torch.searchsorted(squares.cumsum(0) / squares.sum(), target**2)) + 1,
            "sv_cumulative": int(torch.searchsorted(values.cumsum(0) / values.sum(), target)) + 1,
        }[reduction]
        parts = modules[key.removesuffix(".weight")]
        rank = min(asked, 3 if delta.dim() == 4 and delta.shape[-1] == 3 else 4)
        ranks.add(rank)
        assert len(parts["lora_down.weight"]) == rank == float(parts["alpha"])
        errors[key] = float((found[key] - delta).norm() / delta.norm())
        assert errors[key] == pytest.approx(float(values[rank:].norm() / values.norm()), rel=1e-3)
    assert report["error_max"] == pytest.approx(max(errors.values()), rel=1e-3)
    assert (report["rank_lowest"], report["rank_highest"]) == (min(ranks), max(ranks)) and report["rank_highest_before"] == 6


def test_nothing_is_lost_at_the_full_rank(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    make_lora("a", LoraOptions(rank=3, alpha=2, conv_rank=2, tucker=True))
    report = use("resize", file="a", rank=100)
    assert report["error_max"] < 1e-5 and report["rank_highest"] == 3, "the rank is never raised"


def test_only_plain_lora(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    for name, options in (("a", LohaOptions(rank=2)), ("b", LoraOptions(rank=2, decompose="outputs"))):
        make_lora(name, options)
        with pytest.raises(AdapterError) as told:
            use("resize", file=name)
        assert told.value.code == "tool.not_lora"
    for reduction, target in (("sv_ratio", 1.0), ("sv_fro", 1.5), ("sv_cumulative", 0.0)):
        with pytest.raises(ConfigError):
            use("resize", file="a", reduction=reduction, target=target)
