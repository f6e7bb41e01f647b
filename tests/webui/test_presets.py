from __future__ import annotations

import dataclasses

from engine.config.load import validate
from engine.config.train import TrainConfig
from engine.library import STARTER_FOLDER, model_facts
from webui import presets


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
