"""A workspace, settings of the practice run, and a desk that counts instead of training."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.config.load import load, nested
from engine.config.train import TrainConfig
from engine.jobs.desk import Desk
from engine.jobs.mailbox import Mailbox
from engine.jobs.store import open_store
from engine.jobs.supervisor import Supervisor
from engine.workspace import Workspace
from tests.support.counting import COUNTING

ROOT = Path(__file__).parents[3]
PRESET = ROOT / "presets" / "starter" / "character.yaml"


class CountingSupervisor(Supervisor):
    """Starts workers that count."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.support.counting", *super().command()[4:]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


@pytest.fixture
def settings() -> Callable[..., TrainConfig]:
    """The practice run with some settings changed: settings(**{"output.name": "x"})."""
    return lambda **changes: load(TrainConfig, PRESET, nested({"training.max_steps": 3, **changes}))


@pytest.fixture
def desk(workspace: Workspace) -> Iterator[Desk]:
    mailbox = Mailbox()
    yield Desk(workspace, open_store(workspace.database), mailbox, COUNTING)
    mailbox.close()


@pytest.fixture
def supervisor(workspace: Workspace) -> Iterator[Supervisor]:
    supervisor = CountingSupervisor(workspace)
    yield supervisor
    supervisor.stop_workers()


@pytest.fixture
def until() -> Callable[..., object]:
    """Waits for something to become true."""

    def wait(condition: Callable[[], object], seconds: float = 60) -> object:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)
        return found

    return wait
