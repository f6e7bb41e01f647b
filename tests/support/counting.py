"""A worker that counts instead of training: real processes, files, states and signals without PyTorch's start-up time.

`output.comment` of a run, or the prompt, says how it goes: words such as `slow`, `crash`, `full`. Run as a program it is a
worker process.
"""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.config.downloads import DownloadConfig
from engine.config.generate import GenerateConfig
from engine.config.tools import ToolConfig
from engine.config.train import TrainConfig
from engine.errors import DatasetError
from engine.jobs.generating import ResultPicture
from engine.jobs.runners import Progress, Runners, Tell
from engine.jobs.worker import main
from engine.training.events import Done, Event, Phase, Resumed, Started, Step, Stopped
from engine.workspace import Workspace, atomic_write


class CountingStudio:
    """Writes a text file as a picture."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.released, self.live = workspace, 0, ""

    def generate(
        self, config: GenerateConfig, out: Path, on_progress: Progress | None = None, on_preview: Any = None,
        on_picture: Callable[[ResultPicture], None] | None = None, extra: Mapping[str, Path] | None = None,
    ) -> list[ResultPicture]:  # fmt: skip
        if "crash" in config.prompt:
            raise ValueError("no such colour")
        steps = 1000 if "slow" in config.prompt else config.steps or 3
        for step in range(steps):
            time.sleep(0.02 if "slow" in config.prompt else 0)
            if on_progress:
                on_progress(step + 1, steps)
        file = out / f"{config.prompt.replace(' ', '-')}-{config.seed}.png"
        with atomic_write(file) as stream:
            stream.write(f"{config.prompt} {self.live}".encode())
        picture = ResultPicture(file, config.seed, config.prompt, False, [], [])
        if on_picture:
            on_picture(picture)
        return [picture]

    def release(self) -> None:
        self.released += 1


class CountingTrainer(CountingStudio):
    """Counts to `training.max_steps`, saving the count at each step."""

    def __init__(self, config: TrainConfig, folder: Path, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.config, self.folder, self.stopping = config, folder, False
        self.choice = config.model.choice

    def stop(self) -> None:
        self.stopping = True

    def run(self) -> Iterator[Event]:
        words, steps = self.config.output.comment.split(), self.config.training.max_steps or 3
        state = self.folder / "state" / "step.json"
        yield Phase("loading")
        step = json.loads(state.read_text()) if state.exists() else 0
        if step:
            yield Resumed(step)
        yield Started(steps, 16, 4, {"unet": 1}, {"unet": 10}, "cpu", "no")
        yield Phase("training")
        while step < steps:
            if self.stopping:
                yield Phase("saving")
                yield Stopped(step)
                return
            time.sleep(0.05 if "slow" in words else 0)
            step += 1
            if step == 2 and "crash" in words:
                raise ValueError("no such layer")
            if step == 2 and "refuse" in words:
                raise DatasetError("dataset.changed", "A picture has gone.", todo="Put it back.")
            if step == 2 and "full" in words and not (self.folder / "freed").exists():
                raise OSError(errno.ENOSPC, "No space left on device")
            with atomic_write(state, "w") as stream:
                json.dump(step, stream)
            self.live = f"live at {step}"
            yield Step(step, 1 / step, 1e-3, 1.0, 0.05)
        with atomic_write(self.workspace.loras / f"{self.config.output.name}.safetensors") as stream:
            stream.write(b"counted")
        yield Done(step, f"{self.config.output.name}.safetensors", 1.0)


def use_tool(config: ToolConfig, workspace: Workspace, on_progress: Progress) -> dict:
    """Counts to 3, or slowly on and on, and writes a text file as the result."""
    name = config.output.name
    if "crash" in name:
        raise ValueError("no such module")
    steps = 1000 if "slow" in name else 3
    for step in range(steps):
        time.sleep(0.02 if "slow" in name else 0)
        on_progress(step + 1, steps)
    return {"file": f"{name}.safetensors", "report": {"counted": steps}}


def download(config: DownloadConfig, workspace: Workspace, tell: Tell) -> dict:
    """Counts bytes to 3, or slowly on and on."""
    if "crash" in config.source:
        raise ValueError("no such planet")
    total = 1000 if "slow" in config.source else 3
    for done in range(total + 1):
        time.sleep(0.02 if "slow" in config.source else 0)
        tell({"phase": "downloading", "done": done, "total": total, "speed": 1.0, "seconds_left": 1.0, "plan": {}})
    return {"name": config.source, "bytes": total}


def warm_up(workspace: Workspace) -> None:
    """There is nothing heavy to import."""


def let_go() -> None:
    pass


COUNTING: Runners = {
    "warm_up": warm_up, "train": CountingTrainer, "generate": CountingStudio, "tool": use_tool, "download": download, "let_go": let_go,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], COUNTING))
