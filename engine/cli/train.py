"""Train a LoRA.

The run is a job like those of the page, and is worked on in this process. While a server's worker has the device, the run
waits in the queue, is worked on there and followed here. Ctrl-C saves and ends with exit code 130; `--resume` goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pydantic import BaseModel

from engine.cli.common import one_line, workspace_of
from engine.cli.foreground import carry_out, exit_code
from engine.config.field import Field, fields
from engine.config.load import load, parse_settings
from engine.config.train import TrainConfig
from engine.errors import ConfigError, JobError
from engine.jobs import actions
from engine.jobs.job import Job
from engine.jobs.store import open_store
from engine.preflight import preflight
from engine.workspace import Workspace

TYPE_NAMES = {str: "text", bool: "true | false", int: "whole number", float: "number"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("config", metavar="CONFIG.yaml", type=Path, nargs="?", help="the settings; what they leave out has its default")
    add("--set", metavar="FIELD=VALUE", action="append", default=[], help="change one setting; may be repeated")
    add("--resume", metavar="RUN", help="go on with a run that stopped: its id or its name")
    parser.epilog = "settings:\n" + "\n".join(describe_fields(TrainConfig))


def describe_fields(model: type[BaseModel]) -> list[str]:
    """All settings of a config; those that some kinds only have say which."""
    declared = fields(model)
    kinds = {field.path: field.choices for field in declared}
    return [
        describe_field(field, field.kinds if field.kinds != kinds.get(f"{field.path.rpartition('.')[0]}.kind") else ())
        for field in declared
    ]


def describe_field(field: Field, kinds: tuple[str, ...] = ()) -> str:
    """Path, allowed values, unit, default, the kinds that have it, and help of a setting."""
    if field.choices:
        allowed = " | ".join(str(choice) for choice in field.choices)
    elif field.minimum is not None and field.maximum is not None:
        allowed = f"{field.minimum:.10g} to {field.maximum:.10g}"
    else:
        allowed = TYPE_NAMES.get(field.type, field.type.__name__)
    unit = f" {field.ui.unit}" if field.ui.unit else ""
    default = "computed" if field.default is None else json.dumps(field.default)
    only = f"; with {', '.join(kinds)}" if kinds else ""
    return f"  {field.path}  ({allowed}{unit}; default {default}{only})\n      {field.help}"


def run(options: argparse.Namespace) -> int:
    workspace = workspace_of(options).prepare()
    if options.resume:
        if options.config or options.set:
            raise ConfigError("config.fixed", "--resume takes no settings.", "A run keeps those it began with.", field="--resume")
        job = actions.resume(find_run(options.resume, workspace), workspace)
    else:
        if not options.config:
            todo = "Name one, or a run with --resume."
            raise ConfigError("config.missing", "CONFIG.yaml is missing.", todo=todo, field="CONFIG.yaml")
        config = load(TrainConfig, options.config, parse_settings(options.set))
        announce(config, workspace)
        job = actions.start_training(config, workspace)
    print(f"Run {job.id} in {workspace.root / str(job.folder)}", flush=True)
    job = carry_out(job, workspace)
    if job.state == "done" and job.result:
        print(f"The LoRA is {workspace.loras / job.result['file']}\nUse it with <lora:{job.name}:1>")
    return exit_code(job)


def announce(config: TrainConfig, workspace: Workspace) -> None:
    """Say what will happen, and what should be known."""
    ahead = preflight(config, workspace)
    plan, model = ahead.plan, ahead.model.name
    print(f"{plan.pictures} pictures, {plan.steps} steps of {plan.views // plan.steps}, {plan.resolution} px, on {model}")
    for notice in ahead.notices:
        print(one_line(notice).replace("Error:", "Note:", 1))


def find_run(text: str, workspace: Workspace) -> Job:
    """A run by its id, or the latest one of a name.

    Raises:
        JobError: `job.unknown`.
    """
    runs = open_store(workspace.database).list(limit=-1, kinds=("train",))
    for run in runs:
        if text in (run.id, run.name, Path(run.folder or "").name):
            return run
    todo = "`python -m engine jobs list` shows them."
    raise JobError("job.unknown", f"There is no run {text!r}.", todo=todo, id=text, field="--resume")
