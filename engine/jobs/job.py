"""What a job is and which states it may be in. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["train", "generate", "grid", "tool", "caption", "download", "check", "tag", "thumbnails"]
State = Literal["queued", "running", "pausing", "paused", "done", "failed", "cancelled", "lost"]
STATES: tuple[str, ...] = get_args(State)

WORKING = ("running", "pausing")
"""A worker has it. `pausing` was asked to end and is saving."""
LIVE = ("queued", *WORKING, "paused", "lost")
"""Not ended: a training run in one of these owns its name."""
RESUMABLE = ("paused", "lost", "failed")
"""A training run can go on from its last saved state."""
DOWNLOADS, FILES = "downloads", "files"
LANES: dict[str, tuple[Kind, ...]] = {DOWNLOADS: ("download",), FILES: ("check", "tag", "thumbnails")}
"""Jobs that wait for the network, and jobs that look at pictures without the device: each lane has a worker of its own, so that
they hold up nothing that computes, and a run of many hours does not hold up them. The first kind of a lane comes first."""


def lane_of(kind: Kind) -> str:
    """Which worker does jobs of this kind: the name of a device, or a key of LANES."""
    return next((lane for lane, kinds in LANES.items() if kind in kinds), "auto")


@dataclass(frozen=True)
class Job:
    """One row of the queue.

    Attributes:
        id: sorts by time of creation, for example "20261124-061500-ab12".
        config: the whole config as plain data.
        folder: the run folder relative to the data folder, for training.
        error: `EngineError.to_dict` of why it failed, or was paused by something other than the user.
        result: what came out: `file` of a training run, `pictures` of a generation; of a tool `file` ("" for none) and `report`;
            of a grid see `engine.jobs.gridding.result_of`, of a download `engine.downloads.download`, of captions
            `engine.datasets.captioning`; of a check its `verdict`.
        request: "stop" or "cancel" when it was asked to end and has not yet; "skip" when a batch of pictures shall be left out.
        created, started, finished: s since the epoch; `started` is the begin of the present attempt.
        attempt: 1, and one more for each resume.
        progress: what a screen shows: `phase`, `done`, `total`; of a run `step`, `steps`, `loss`, `seconds_left` as well; of
            pictures that wait for the end of a run `phase` "waiting", its id `waiting` and its name `run`; of a grid its `folder`
            as well; of a download see `engine.downloads.meter`.
        worker: the process that has or had it, as `engine.jobs.process.identity`.
    """

    id: str
    kind: Kind
    name: str
    state: State
    config: dict
    folder: str | None
    error: dict | None
    result: dict | None
    request: str | None
    created: float
    started: float | None
    finished: float | None
    attempt: int
    progress: dict | None
    worker: str | None
