"""Make a grid of pictures: a request, varied along up to three axes.

The pictures, grid.json and sheet.png are kept in a folder below outputs/ of the data folder. Ctrl-C keeps what is done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.cli.common import workspace_of
from engine.cli.foreground import carry_out, exit_code
from engine.cli.train import describe_fields
from engine.config.grid import GridConfig
from engine.config.load import load, parse_settings
from engine.grid.pace import seconds
from engine.grid.plan import plan_grid, settle
from engine.jobs import actions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("config", metavar="CONFIG.yaml", type=Path, nargs="?", help="the settings; what they leave out has its default")
    add("--set", metavar="FIELD=VALUE", action="append", default=[], help="change one setting; may be repeated")
    parser.epilog = "settings:\n" + "\n".join(describe_fields(GridConfig))


def run(options: argparse.Namespace) -> int:
    workspace = workspace_of(options).prepare()
    config = settle(load(GridConfig, options.config, parse_settings(options.set)))
    plan = plan_grid(config, workspace)
    expected = seconds(plan, workspace)
    print(f"{plan.pictures} pictures" + (f", about {max(1, round(expected / 60))} min" if expected else ""), flush=True)
    job = carry_out(actions.start_grid(config, workspace), workspace)
    if job.result:
        print(workspace.root / (job.result["sheet"] or job.result["folder"]))
    return exit_code(job)
