"""What a run tells its driver, as typed events. Plain data, no torch: whoever reads a run's log needs only this file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Something that happened. `type` names the class on disk."""

    type: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True)
class Phase(Event):
    """Work before, between or after the steps: `loading`, `scanning`, `latents`, `text`, `training`, `sampling`, `saving`.

    `done` of `total` parts; `total` 0 when the length is unknown.
    """

    type: ClassVar[str] = "phase"
    name: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Started(Event):
    """The run's facts, known once the pictures are scanned and the adapter is placed.

    `modules` and `parameters` count the layers and the numbers that learn, per component.
    """

    type: ClassVar[str] = "started"
    steps: int
    pictures: int
    steps_per_epoch: int
    modules: dict[str, int]
    parameters: dict[str, int]
    device: str
    precision: str


@dataclass(frozen=True)
class Resumed(Event):
    """The run goes on from a saved state; steps after `step` in the log are void."""

    type: ClassVar[str] = "resumed"
    step: int


@dataclass(frozen=True)
class Step(Event):
    """An optimizer step, 1-based. `seconds` is its own time; `loss` the mean over its pictures."""

    type: ClassVar[str] = "step"
    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    seconds: float


@dataclass(frozen=True)
class Sample(Event):
    """A sample picture made after `step` steps; `file` is relative to the run folder."""

    type: ClassVar[str] = "sample"
    step: int
    index: int
    prompt: str
    seed: int
    file: str


@dataclass(frozen=True)
class Checkpoint(Event):
    """A version of the adapter was saved and read back; `file` is relative to the run folder."""

    type: ClassVar[str] = "checkpoint"
    step: int
    epoch: int
    file: str


@dataclass(frozen=True)
class Warned(Event):
    """Something the user should know; the run goes on."""

    type: ClassVar[str] = "warning"
    code: str
    text: str


@dataclass(frozen=True)
class Stopped(Event):
    """The run was asked to stop; its state after `step` steps is saved and it can be resumed."""

    type: ClassVar[str] = "stopped"
    step: int


@dataclass(frozen=True)
class Done(Event):
    """The run is complete. `file` is the finished adapter's name in the LoRA folder."""

    type: ClassVar[str] = "done"
    step: int
    file: str
    seconds: float
