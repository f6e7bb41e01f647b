"""One use of a tool from beginning to end: plan, compute, write. `TOOLS` is the one place that lists them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.config.tools import ToolConfig
from engine.errors import ConfigError
from engine.tools.bake import bake
from engine.tools.bench import Bench, Progress, Report
from engine.tools.bundle import bundle
from engine.tools.convert import convert
from engine.tools.cut import cut
from engine.tools.difference import difference
from engine.tools.edit import edit
from engine.tools.extract import extract
from engine.tools.inspect import inspect
from engine.tools.merge import merge
from engine.tools.plan import changes_its_file, plan
from engine.tools.resize import resize
from engine.workspace import Workspace

TOOLS: dict[str, Callable[[Any, Bench], Report]] = {
    "inspect": inspect, "convert": convert, "merge": merge, "bake": bake, "extract": extract, "resize": resize, "cut": cut,
    "bundle": bundle, "edit": edit, "difference": difference,
}  # fmt: skip
"""`kind` of the options -> what carries them out."""


def run(config: ToolConfig, workspace: Workspace, on_progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """Returns {"file": name of what was written, "" for nothing, "report": see the tool}.

    Raises:
        EngineError: what `plan` and the tool raise. What `on_progress` raises ends the work; nothing half-done stays.
    """
    found = plan(config, workspace)
    if found.out and found.out.exists() and not changes_its_file(config):
        raise ConfigError(
            "output.name_taken", f"output.name: the name {found.out.stem!r} is taken.", "A name that no other file has.",
            "Choose another name.", field="output.name", name=found.out.stem, suggestion="",
        )  # fmt: skip
    report = TOOLS[config.tool.kind](config.tool, Bench(found, on_progress))
    return {"file": found.out.name if found.out and found.out.exists() else "", "report": report}
