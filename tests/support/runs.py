"""Training runs of the tiny model, for tests: a workspace with a model and pictures, short configs, and their outcome."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from engine.config.load import merge, nested, validate
from engine.config.train import TrainConfig
from engine.training.events import Event
from engine.training.trainer import Trainer
from engine.workspace import Workspace
from tests.support.pictures import drawing

BASE = {
    "model": {"path": "tiny"},
    "dataset": {"folder": "pets", "trigger": "mofumo", "resolution": 64},
    "adapter": {"rank": 2, "alpha": 2},
    "training": {"max_steps": 2, "batch_size": 2, "learning_rate": 1e-2, "seed": 5},
    "samples": {"count": 0, "steps": 1},
    "output": {"name": "lora", "save_count": 1, "precision": "float32"},
}


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    trainer: Trainer
    events: list[Event]
    file: Path

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def tensors(self) -> dict[str, Tensor]:
        with safe_open(self.file, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    @property
    def metadata(self) -> dict[str, str]:
        with safe_open(self.file, "pt") as file:
            return file.metadata()

    @property
    def payload(self) -> str:
        """Hash of every bit of every tensor."""
        return self.metadata["sshs_model_hash"]


def config_of(**settings: Any) -> TrainConfig:
    """The base config with `section__field=value` on top."""
    return validate(TrainConfig, merge(BASE, nested({path.replace("__", "."): value for path, value in settings.items()})))


def train(
    workspace: Workspace, folder: Path, config: TrainConfig, between: Callable[[Trainer, Event], None] | None = None
) -> Outcome:
    """Run to the end, or to where `between`, called with every event, stops it."""
    trainer, events = Trainer(config, folder, workspace), []
    for event in trainer.run():
        events.append(event)
        if between:
            between(trainer, event)
    return Outcome(trainer, events, workspace.loras / f"{config.output.name}.safetensors")


def make_pets(folder: Path, count: int, repeats: int = 1) -> Path:
    """A dataset of small pictures in Kohya's folder form, with captions of several tags."""
    inside = folder / f"{repeats}_mofumo"
    inside.mkdir(parents=True)
    for number in range(count):
        drawing((80, 72), random.Random(number)).save(inside / f"{number}.png")
        (inside / f"{number}.txt").write_text(f"mofumo, a red cat, on a blue chair, number {number}\n", encoding="utf-8")
    return folder


def same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 0.0) -> bool:
    """Whether two sets of tensors are equal, to the bit or within a tolerance."""
    equal = torch.equal if tolerance == 0 else lambda a, b: torch.allclose(a, b, rtol=0, atol=tolerance)
    return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
