"""What a worker computes with: the only door from the jobs to training and generation.

PyTorch comes in with the first call. The table is handed to the worker by whoever starts it; nothing in a file, a row or a
form can name anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from engine.config.check import CheckConfig
from engine.config.choices import ModelChoice
from engine.config.downloads import DownloadConfig
from engine.config.generate import GenerateConfig
from engine.config.thumbnails import ThumbnailConfig
from engine.config.tools import ToolConfig
from engine.config.train import TrainConfig
from engine.fitting import write_profile
from engine.training.events import Event
from engine.workspace import Workspace

if TYPE_CHECKING:
    from engine.families.shelf import ModelShelf

Progress = Callable[[int, int], None]
Tell = Callable[[dict[str, Any]], None]


class PictureMaker(Protocol):
    """Makes pictures and writes them below `out`; see `engine.generation.studio.Picture`."""

    def generate(
        self, config: GenerateConfig, out: Path, on_progress: Progress | None = None, on_preview: Callable[[Any], None] | None = None,
        on_picture: Callable[[Any], None] | None = None,
    ) -> list[Any]: ...  # fmt: skip


class Studio(PictureMaker, Protocol):
    """Keeps a base model between requests."""

    def generate(
        self, config: GenerateConfig, out: Path, on_progress: Progress | None = None, on_preview: Callable[[Any], None] | None = None,
        on_picture: Callable[[Any], None] | None = None, extra: Mapping[str, Path] | None = None,
    ) -> list[Any]:  # fmt: skip
        """Args: extra: name -> file of adapters that lie in none of the LoRA folders."""
        ...

    def release(self) -> None:
        """Leave the model as it was loaded."""
        ...


class Trainer(PictureMaker, Protocol):
    """A run as a generator; between two of its events it makes pictures with the adapter as it is."""

    @property
    def choice(self) -> ModelChoice: ...

    def run(self) -> Iterator[Event]: ...

    def stop(self) -> None: ...


class Runners(TypedDict):
    warm_up: Callable[[Workspace], None]
    train: Callable[[TrainConfig, Path, Workspace], Trainer]
    generate: Callable[[Workspace], Studio]
    tool: Callable[[ToolConfig, Workspace, Progress], dict[str, Any]]
    download: Callable[[DownloadConfig, Workspace, Tell], dict[str, Any]]
    check: Callable[[CheckConfig, Workspace, Progress], dict[str, Any]]
    thumbnails: Callable[[ThumbnailConfig, Workspace, Progress], dict[str, Any]]
    let_go: Callable[[], None]


def warm_up(workspace: Workspace) -> None:
    """Tell the page of the device, import what the first job will need, and keep its libraries from writing into logs."""
    from engine.device import device_profile, pick_device

    write_profile(device_profile(pick_device()), workspace.root / "config")
    import diffusers
    import transformers

    import engine.generation.studio
    import engine.training.trainer  # noqa: F401

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


@cache
def shelf() -> ModelShelf:
    """The one base model of this process: training and pictures take turns with it."""
    from engine.families.shelf import ModelShelf

    return ModelShelf()


def train(config: TrainConfig, folder: Path, workspace: Workspace) -> Trainer:
    from engine.training.trainer import Trainer

    return Trainer(config, folder, workspace, shelf())


def generate(workspace: Workspace) -> Studio:
    from engine.generation.studio import Studio

    return Studio(workspace, shelf())


def tool(config: ToolConfig, workspace: Workspace, on_progress: Progress) -> dict[str, Any]:
    from engine.tools.run import run

    return run(config, workspace, on_progress)


def download(config: DownloadConfig, workspace: Workspace, tell: Tell) -> dict[str, Any]:
    from engine.downloads.download import download

    return download(config, workspace, tell)


def check(config: CheckConfig, workspace: Workspace, on_progress: Progress) -> dict[str, Any]:
    from engine.datasets.doctor import examine

    return {"verdict": examine(config, workspace, on_progress).verdict}


def thumbnails(config: ThumbnailConfig, workspace: Workspace, on_progress: Progress) -> dict[str, Any]:
    from engine.datasets.album import open_album
    from engine.datasets.thumbnails import make_thumbnails

    album = open_album(workspace.dataset_folder(config.dataset), workspace)
    album.read()
    paths = [album.folder / name for name, entry in album.entries.items() if entry.width]
    unreadable = make_thumbnails(paths, workspace, on_progress)
    return {"pictures": len(paths), "unreadable": len(unreadable)}


def let_go() -> None:
    """Free the model's memory."""
    shelf().clear()


RUNNERS: Runners = {
    "warm_up": warm_up, "train": train, "generate": generate, "tool": tool, "download": download, "check": check,
    "thumbnails": thumbnails, "let_go": let_go,
}  # fmt: skip
