"""What a worker computes with: the only door from the jobs to training and generation.

PyTorch comes in with the first call. The table is handed to the worker by whoever starts it; nothing in a file, a row or a
form can name anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypedDict

from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.training.events import Event
from engine.workspace import Workspace

Progress = Callable[[int, int], None]


class PictureMaker(Protocol):
    """Makes pictures and writes them below `out`; see `engine.generation.studio.Picture`."""

    def generate(self, config: GenerateConfig, out: Path, on_progress: Progress | None = None) -> list[Any]: ...


class Studio(PictureMaker, Protocol):
    """Keeps a base model between requests."""

    def release(self) -> None: ...


class Trainer(PictureMaker, Protocol):
    """A run as a generator; between two of its events it makes pictures with the adapter as it is."""

    @property
    def model_path(self) -> str: ...

    def run(self) -> Iterator[Event]: ...

    def stop(self) -> None: ...


class Runners(TypedDict):
    warm_up: Callable[[], None]
    train: Callable[[TrainConfig, Path, Workspace], Trainer]
    generate: Callable[[Workspace], Studio]


def warm_up() -> None:
    """Import what the first job will need, and keep its libraries from writing into logs and command lines."""
    import diffusers
    import transformers

    import engine.generation.studio
    import engine.training.trainer  # noqa: F401

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def train(config: TrainConfig, folder: Path, workspace: Workspace) -> Trainer:
    from engine.training.trainer import Trainer

    return Trainer(config, folder, workspace)


def generate(workspace: Workspace) -> Studio:
    from engine.generation.studio import Studio

    return Studio(workspace)


RUNNERS: Runners = {"warm_up": warm_up, "train": train, "generate": generate}
