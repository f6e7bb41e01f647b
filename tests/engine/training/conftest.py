"""One workspace with tiny models and pictures, and one finished run with everything random in it, for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.train import TrainConfig
from engine.workspace import Workspace
from tests.support.runs import Outcome, config_of, make_pets, train
from tests.support.tiny import tiny_sd1

RANDOM = {
    "dataset.flip": True, "dataset.shuffle_tags": True, "dataset.caption_dropout": 0.3, "adapter.dropout": 0.2,
    "adapter.conv_rank": 2, "adapter.train_text_encoder": True, "training.gradient_accumulation": 2, "training.max_steps": 4,
    "samples.count": 1, "samples.prompts": ["mofumo, a red cat"], "output.save_count": 2,
}  # fmt: skip
"""Every source of randomness that a run has, all at once."""


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("data")).prepare()
    models = workspace.root / "models" / "checkpoints"
    tiny_sd1(models / "tiny")
    tiny_sd1(models / "tiny-v", prediction_type="v_prediction")
    make_pets(workspace.root / "datasets" / "pets", 3)
    make_pets(workspace.root / "datasets" / "one", 1, repeats=2)
    return workspace


@pytest.fixture(scope="session")
def random_config() -> TrainConfig:
    return config_of(**{path.replace(".", "__"): value for path, value in RANDOM.items()})


@pytest.fixture(scope="session")
def straight(workspace: Workspace, random_config: TrainConfig) -> Outcome:
    """The run with everything random, never interrupted. What others are compared with."""
    config = random_config.model_copy(deep=True)
    config.output.name = "straight"
    return train(workspace, workspace.runs / "straight", config)


@pytest.fixture
def folder(workspace: Workspace, tmp_path: Path) -> Path:
    """A fresh run folder."""
    return workspace.runs / tmp_path.name
