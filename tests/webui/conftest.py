"""A page without a worker, as it is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.jobs.store import JobStore
from engine.workspace import Workspace
from webui.context import Context


@pytest.fixture()
def context(tmp_path: Path) -> Context:
    workspace = Workspace(tmp_path / "data").prepare()
    return Context(workspace, JobStore(workspace.database))
