"""DyLoRA: the ranks of a step, the cut of a file, and evaluation without chance."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.dylora import Dylora, active_ranks
from engine.adapters.layers import base_tensors
from engine.adapters.lora import Lora
from engine.adapters.network import Network
from engine.config.adapter import DyloraOptions
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from tests.support.layers import KINDS, adapted, inputs_of, layer_of, randomised, with_lycoris
from tests.support.targets import targets

layers = pytest.mark.parametrize("kind", KINDS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dylora(layer: nn.Module, rank: int = 4, unit: int = 1) -> Dylora:
    options = DyloraOptions(rank=rank, alpha=6, unit=unit)
    return randomised(Dylora.create(LayerShape.of(layer), base_tensors(layer), options, generator()))


def cut(tensors: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    down, up, alpha = (tensors[name] for name in ("lora_down.weight", "lora_up.weight", "alpha"))
    return {"lora_down.weight": down[:rank], "lora_up.weight": up[:, :rank], "alpha": alpha * rank / len(down)}


@layers
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_a_file_cut_to_a_rank_is_what_was_trained_at_that_rank(kind: str, rank: int) -> None:
    layer = layer_of(kind)
    adapter = dylora(layer).train()
    adapter.active = rank
    finished = Lora.from_tensors(LayerShape.of(layer), cut(adapter.tensors(), rank))
    torch.testing.assert_close(adapted(layer, adapter), adapted(layer, finished))


@layers
def test_only_the_ranks_at_work_learn(kind: str) -> None:
    layer = layer_of(kind)
    adapter = dylora(layer).train()
    adapter.active = 2
    x = inputs_of(layer)
    adapter(x, layer(x), layer).square().sum().backward()
    down, up = adapter.lora_down.weight.grad, adapter.lora_up.weight.grad
    assert down is not None and up is not None
    assert down[:2].count_nonzero() and up[:, :2].count_nonzero()
    assert not down[2:].count_nonzero() and not up[:, 2:].count_nonzero()


def test_all_ranks_work_in_evaluation_whatever_was_drawn() -> None:
    layer = layer_of("linear")
    adapter = dylora(layer)
    adapter.active = 1
    whole = Lora.from_tensors(LayerShape.of(layer), adapter.tensors())
    assert torch.equal(adapted(layer, adapter), adapted(layer, whole))


def test_the_evaluation_of_lycoris_goes_on_drawing() -> None:
    theirs = pytest.importorskip("lycoris.modules.dylora").DyLoraModule
    layer = layer_of("linear")
    module = randomised(theirs("x", layer, lora_dim=4, alpha=4, block_size=1))
    random.seed(0)
    assert len({float(with_lycoris(layer, module).sum()) for _ in range(20)}) > 1


def test_units_are_drawn_whole_and_all_alike() -> None:
    drawn = [active_ranks(12, 4, share / 300) for share in range(300)]
    assert {rank: drawn.count(rank) for rank in drawn} == {4: 100, 8: 100, 12: 100}
    assert active_ranks(100_000, 1, 1 - 2**-24) == 100_000  # the largest share that float32 draws


def test_all_layers_are_cut_at_the_same_share_of_their_rank() -> None:
    model = nn.Sequential(layer_of("linear"), layer_of("conv 3x3"), layer_of("linear"))
    chosen = targets({"unet": ["0", "1", "2"]}, DyloraOptions(rank=4, conv_rank=8))
    network, seen = Network.create("sd1", {"unet": model}, chosen, seed=0), set()
    for step in range(20):
        network.begin_step(generator(step))
        active = [adapter.active for adapter in network.adapters.values()]
        assert active[0] == active[2] and active[1] in (2 * active[0], 2 * active[0] - 1)
        seen.add(active[0])
    assert seen == {1, 2, 3, 4}


def test_rank_dropout_acts_on_the_ranks_at_work() -> None:
    adapter = dylora(layer_of("linear"), rank=32).train()
    adapter.rank_dropout, adapter.active = 0.5, 16
    adapter.begin_step(generator(1))
    mask = adapter.mask(32, torch.zeros(()))
    assert mask is not None and not mask[16:].any() and set(mask[:16].tolist()) == {0.0, 2.0}


def test_lora_plus_speeds_up_the_second_factor() -> None:
    adapter = dylora(layer_of("linear"))
    assert [group.parameters for group in adapter.param_groups() if group.up] == [[adapter.lora_up.weight]]


def test_a_run_may_go_on_from_a_finished_one(tmp_path: Path) -> None:
    model = nn.Module()
    model.mid_block = layer_of("linear")
    finished, run = (
        Network.create("sd1", {"unet": model}, targets({"unet": ["mid_block"]}, DyloraOptions(rank=4)), seed) for seed in (1, 2)
    )
    write_adapter(tmp_path / "x.safetensors", randomised(finished).tensors(), {})
    run.begin_from(Network.from_file(read_adapter(tmp_path / "x.safetensors"), {"unet": model}, "sd1"))
    assert all(torch.equal(run.tensors()[name], tensor) for name, tensor in finished.tensors().items())


@pytest.mark.parametrize("options", [{"rank": 6, "unit": 4}, {"rank": 8, "conv_rank": 6, "unit": 4}])
def test_a_rank_of_broken_units_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="multiples of unit, which is 4"):
        DyloraOptions.model_validate(options)
