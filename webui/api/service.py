"""What every call needs: the page's context, and whether the program ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from engine.jobs.job import WORKING, Job
from engine.workspace import Workspace
from webui.context import Context


@dataclass(frozen=True)
class Service:
    """One running API.

    Attributes:
        ended: set when the program is asked to end.
    """

    context: Context
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def workspace(self) -> Workspace:
        return self.context.workspace

    def at_work(self) -> Job | None:
        """The pictures that are being made; if there are none, those that will be next."""
        live = self.context.jobs.list(limit=-1, states=("queued", *WORKING), kinds=("generate",))
        return next((job for job in live if job.state in WORKING), live[-1] if live else None)


def _service(request: Request) -> Service:
    return request.app.state.service


Asked = Annotated[Service, Depends(_service)]
"""A call's parameter of this type is the service."""
