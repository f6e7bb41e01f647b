from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.config.load import lay_over, validate
from engine.config.train import TrainConfig
from engine.jobs import run_folder
from engine.jobs.events import EventLog
from engine.jobs.store import JobStore
from engine.preflight import Preflight, preflight
from engine.training.events import Checkpoint, Started
from engine.workspace import Workspace
from webui.forms import keyed
from webui.i18n import LANGUAGES, t
from webui.widgets.counted import counted
from webui.widgets.plan import plan_html, source
from webui.widgets.runs import RunReader

KINDS = keyed(TrainConfig)["adapter.kind"].choices
RUN = {"dataset": {"folder": "practice/mascot", "trigger": "mofumo"}, "output": {"name": "mascot"}}


def config_of(**adapter: object) -> TrainConfig:
    return validate(TrainConfig, {**RUN, "adapter": adapter})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("plan")).prepare()


@pytest.fixture(scope="module")
def ahead(workspace: Workspace) -> Iterator[Preflight]:
    yield preflight(config_of(), workspace)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_algorithm_is_planned_by_its_name(ahead: Preflight, kind: str, language: str) -> None:
    config = config_of(kind=kind)
    shown = plan_html(ahead, config, {}, language)
    assert t(f"adapter.kind.choice.{kind}", language) in shown
    assert (t("text.plan.rank", language) in shown) == hasattr(config.adapter, "rank")
    assert (t("text.plan.blocks", language) in shown) == (kind in ("oft", "boft"))


def test_who_decided_a_setting_of_another_algorithm() -> None:
    config = config_of(kind="oft", block_size=4)
    assert source("adapter.block_size", config, {}) == "you"
    assert source("adapter.block_size", config_of(kind="oft"), {}) == "default"
    assert source("adapter.kind", config, {"adapter.kind": "oft"}) == "preset"


def test_a_run_before_tells_what_learns(ahead: Preflight, workspace: Workspace) -> None:
    store, reader, config = JobStore(workspace.database), RunReader(workspace), config_of(kind="lokr", rank=4)
    folder = run_folder.create(workspace, "20261124-061500-ab12", config)
    store.add("train", config.model_dump(mode="json"), "mascot", None, folder, "20261124-061500-ab12")
    runs = store.list(kinds=("train",))
    assert counted(config, runs, reader, workspace) is None, "it has not begun"
    log = EventLog(workspace.root / folder)
    log.append(Started(10, 16, 4, {"unet": 129}, {"unet": 23456}, "cpu", "no").to_dict())
    (workspace.root / folder / "checkpoints").mkdir(exist_ok=True)
    (workspace.root / folder / "checkpoints" / "a.safetensors").write_bytes(b"x" * 2_500_000)
    log.append(Checkpoint(5, 1, "checkpoints/a.safetensors").to_dict())
    before = counted(config, runs, reader, workspace)
    assert before and (before.modules, before.parameters, before.size) == ({"unet": 129}, {"unet": 23456}, 2_500_000)
    shown = plan_html(ahead, config, {}, "en", before)
    assert "129 modules, 23,456 parameters" in shown and "2.5 MB" in shown

    def again(path: str, value: object) -> bool:
        section, _, name = path.partition(".")
        changed = validate(TrainConfig, lay_over(TrainConfig, config.model_dump(), {section: {name: value}}))
        return counted(changed, runs, reader, workspace) is not None

    assert again("training.learning_rate", 1e-3) and again("adapter.module_dropout", 0.1)
    assert not (again("adapter.rank", 8) or again("adapter.kind", "loha") or again("model.path", "other.safetensors"))
