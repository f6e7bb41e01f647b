from __future__ import annotations

import dataclasses

import pytest

from engine.config.load import preset_path, validate
from engine.config.train import TrainConfig
from engine.formats.models import MODELS
from engine.model_facts import STARTER_FOLDER, model_facts
from webui import presets
from webui.i18n import table


def test_every_shipped_preset_fills_the_form() -> None:
    for name in presets.names():
        config = validate(TrainConfig, presets.applied(name, TrainConfig().model_dump()))
        assert config.training.learning_rate > 0


def test_what_the_user_chose_stays_unless_the_preset_names_it() -> None:
    current = TrainConfig().model_dump()
    current["model"]["path"], current["dataset"]["folder"], current["training"]["learning_rate"] = "mine", "cats", 0.5
    filled = presets.applied("sd1/character", current)
    assert filled["model"]["path"] == "mine" and filled["dataset"]["folder"] == "cats"
    assert filled["training"]["learning_rate"] != 0.5
    assert presets.applied(presets.PRACTICE, current)["dataset"]["folder"] == "practice/mascot"


def test_presets_are_offered_for_their_model() -> None:
    starter = model_facts(STARTER_FOLDER)
    real = dataclasses.replace(starter, practice=False)
    assert presets.names(starter) and all(name.startswith("starter/") for name in presets.names(starter))
    assert "sd1/character" in presets.names(real)
    assert not any(name.startswith("starter/") for name in presets.names(real))


def test_an_unknown_preset_sets_nothing() -> None:
    assert presets.settings("../../etc/passwd") == {}
    assert presets.settings(None) == {}


@pytest.mark.parametrize("family", MODELS)
def test_every_family_has_presets_for_a_character_a_style_and_a_small_card(family: str) -> None:
    facts = dataclasses.replace(model_facts(STARTER_FOLDER), family=family, practice=False)
    offered = presets.names(facts)
    assert {f"{family}/{purpose}" for purpose in ("character", "style", "low-memory")} <= set(offered)
    kinds = {name: validate(TrainConfig, presets.applied(name, TrainConfig().model_dump())).dataset.kind for name in offered}
    assert kinds[f"{family}/character"] == "character" and kinds[f"{family}/style"] == "style"


@pytest.mark.parametrize("name", sorted(set(presets.names()) - {presets.PRACTICE}))
def test_every_preset_says_what_it_is_for_and_has_a_name_in_both_languages(name: str) -> None:
    lines = preset_path(name).read_text(encoding="utf-8").splitlines()
    header = lines[: lines.index("version: 1")]
    assert all(line.startswith("# ") for line in header)
    assert all(any(line.startswith(f"# {word}:") for line in header) for word in ("For", "Memory", "Time", "Source"))
    assert all(f"preset.{name.replace('/', '-')}" in table(language) for language in ("en", "ja"))


def test_a_small_card_gets_checkpointing_and_no_more_than_one_picture_at_a_time() -> None:
    for name in presets.names():
        if name.endswith("/low-memory"):
            training = presets.settings(name)["training"]
            assert training["gradient_checkpointing"] and training["batch_size"] == 1
