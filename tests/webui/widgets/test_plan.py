from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.config.load import validate
from engine.config.train import TrainConfig
from engine.preflight import Preflight, preflight
from engine.workspace import Workspace
from webui.forms import keyed
from webui.i18n import LANGUAGES, t
from webui.widgets.plan import plan_html, source
from webui.widgets.run_view import component_words
from webui.widgets.words import megabytes

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


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_learns_is_said_before_the_first_run(ahead: Preflight, language: str) -> None:
    assert ahead.trained
    shown = plan_html(ahead, config_of(), {}, language)
    assert component_words("unet", ahead.trained.modules["unet"], ahead.trained.parameters["unet"], language) in shown
    assert megabytes(ahead.trained.file_size, language) in shown and f"{ahead.trained.parameters['unet']:,}" in shown
    unknown = plan_html(replace(ahead, trained=None), config_of(), {}, language)
    assert t("text.plan.learning", language) in shown and t("text.plan.learning", language) not in unknown
