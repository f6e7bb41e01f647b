"""Every algorithm through a whole run: it trains, its file loads again, and a run that was stopped ends in the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.adapters.network import Network
from engine.config.train import TrainConfig
from engine.errors import AdapterError
from engine.formats.adapter_file import read_adapter
from engine.formats.rank_map import HEAD_RANKS, layer_ranks
from engine.formats.suffixes import algorithm_of
from engine.training.events import Resumed, Started, Step
from engine.workspace import Workspace
from tests.support.adapter_cases import CASES
from tests.support.runs import config_of, same, train

TRAINED = [case for case, options in CASES.items() if options.kind != "norm"]  # type: ignore[attr-defined]


def config(case: str, name: str, **settings) -> TrainConfig:
    rules = ["unet.down_blocks.*: off", "unet.up_blocks.*: off"]  # a layer of every kind is left, in a tenth of the time
    options = {**CASES[case].model_dump(), "targets": "full", "train_text_encoder": True, "train_norms": True, "rules": rules}
    made = config_of(output__name=name, training__max_steps=3, **settings)
    return TrainConfig.model_validate({**made.model_dump(), "adapter": options})


@pytest.mark.parametrize("case", TRAINED)
def test_a_stopped_run_ends_in_the_same_bits(workspace: Workspace, tmp_path: Path, case: str) -> None:
    whole = train(workspace, tmp_path / "whole", config(case, "whole"))
    train(
        workspace, tmp_path / "two", config(case, "two"),
        lambda trainer, event: trainer.stop() if isinstance(event, Step) and event.step == 2 else None,
    )  # fmt: skip
    again = train(workspace, tmp_path / "two", config(case, "two"))
    assert [event.step for event in again.of(Resumed)] == [2]
    assert again.payload == whole.payload
    file = read_adapter(whole.file)
    loaded = Network.from_file(file, whole.trainer.model.components, "sd1")
    (started,) = whole.of(Started)
    assert loaded.match.matched == loaded.match.total == sum(started.modules.values())
    said = whole.trainer.ahead.trained
    assert said and (said.modules, said.parameters) == (started.modules, started.parameters)
    if case not in ("adalora", "ard_lora"):  # they cut their ranks on the way
        assert said.file_size == pytest.approx(whole.file.stat().st_size, rel=0.03)


def test_the_ranks_of_heads_stand_in_the_file(workspace: Workspace, tmp_path: Path) -> None:
    made = train(workspace, tmp_path / "run", config("ard_lora", "heads"))
    told = json.loads(made.metadata[HEAD_RANKS])
    rows = {row.name: row for row in layer_ranks(made.file)}
    assert told.keys() == {name for name in rows if "norm" not in name} and all(
        list(rows[name].heads) == told[name] for name in told
    )
    query = next(heads for name, heads in told.items() if name.endswith("attn1_to_q"))
    assert len(query) == made.trainer.model.components["unet"].config.attention_head_dim and max(query) < 8  # type: ignore[union-attr]


def test_different_algorithms_in_one_run(workspace: Workspace, tmp_path: Path) -> None:
    rules = ["*.attn2.*: loha rank=2", "*.ff.*: lokr factor=4", "*.attn1.to_q: off", "*.mid_block.*: rank=5"]
    made = train(workspace, tmp_path / "run", config_of(output__name="mixed", adapter__rules=rules))
    file = read_adapter(made.file)
    kinds = {name: algorithm_of({suffix: t.shape for suffix, t in parts.items()}) for name, parts in file.modules.items()}
    assert all(kind == "loha" for name, kind in kinds.items() if "attn2" in name and "mid_block" not in name)
    assert all(kind == "lokr" for name, kind in kinds.items() if "_ff_" in name and "mid_block" not in name)
    assert not any(name.endswith("attn1_to_q") and "mid_block" not in name for name in kinds)
    assert {t["lora_down.weight"].shape[0] for name, t in file.modules.items() if "mid_block" in name} == {5}
    loaded = Network.from_file(file, made.trainer.model.components, "sd1")
    assert loaded.match.matched == loaded.match.total == len(kinds)


def test_a_run_goes_on_from_a_finished_adapter(workspace: Workspace, tmp_path: Path) -> None:
    first = train(workspace, tmp_path / "1", config_of(output__name="first"))
    still = {"adapter__start_from": "first", "training__learning_rate": 0.0, "training__seed": 9}
    second = train(workspace, tmp_path / "2", config_of(output__name="second", **still))
    assert same(first.tensors, second.tensors)
    with pytest.raises(AdapterError) as caught:
        train(workspace, tmp_path / "3", config_of(output__name="third", adapter__rank=3, **still))
    assert caught.value.code == "adapter.start_differs" and caught.value.values["field"] == "adapter.start_from"
