"""What every tab needs: where things lie, the jobs, and who is asking in which language."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import gradio as gr

from engine.errors import EngineError, JobError
from engine.fitting import DeviceProfile, read_profile
from engine.jobs.job import DOWNLOADS, FILES
from engine.jobs.store import JobStore
from engine.jobs.supervisor import Supervisor
from engine.workspace import Workspace
from webui import i18n


@dataclass(frozen=True)
class Context:
    """One running page.

    Attributes:
        supervisor: sees to the worker; None where nothing shall be computed.
        lanes: see to the workers that do not compute, by the name of their lane; one that is missing does nothing.
        forced_language: `--lang`, or None for the browser's.
        guest: user name of guests, who may make pictures but not train; None when there are none.
    """

    workspace: Workspace
    jobs: JobStore
    supervisor: Supervisor | None = None
    forced_language: str | None = None
    guest: str | None = None
    lanes: Mapping[str, Supervisor] = field(default_factory=dict)

    def language(self, request: gr.Request | None) -> str:
        return i18n.language(request, self.forced_language)  # type: ignore[arg-type]  # a Request passes its headers on

    def device(self) -> DeviceProfile | None:
        """What computes, as the worker found it at its last start; None before its first."""
        return read_profile(self.workspace.root / "config")

    def ensure_worker(self) -> None:
        """See to it that somebody does the work. Raises JobError: `worker.cannot_start`."""
        if self.supervisor:
            self.supervisor.ensure_worker()

    def ensure_downloader(self) -> None:
        """The same for downloads."""
        self._ensure_lane(DOWNLOADS)

    def ensure_files(self) -> None:
        """The same for what only looks at pictures."""
        self._ensure_lane(FILES)

    def _ensure_lane(self, lane: str) -> None:
        if lane in self.lanes:
            self.lanes[lane].ensure_worker()

    def check_owner(self, request: gr.Request | None) -> None:
        """Raises JobError: `guest.refused`."""
        if self.guest and request and request.username == self.guest:
            raise JobError("guest.refused", "Guests may make pictures; training is the owner's.", todo="Sign in as the owner.")


@contextmanager
def reported(problems: list[EngineError]) -> Iterator[None]:
    """Collect what goes wrong: an EngineError as it is, anything else as one that names it, with its traceback in the terminal."""
    try:
        yield
    except EngineError as error:
        problems.append(error)
    except Exception as error:  # the page must say something, whatever it was
        traceback.print_exc(file=sys.stderr)
        what = f"Something went wrong that should not ({type(error).__name__})."
        problems.append(EngineError("page.unexpected", what, todo="Details are in the terminal.", name=type(error).__name__))
