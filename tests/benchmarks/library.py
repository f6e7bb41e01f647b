"""The list of 200 base models with headers of real size: the first time, the next time, and by a process that has just begun."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from engine import library
from engine.families.parts import build_empty
from engine.formats.models import MODELS
from engine.formats.single_file import shipped_config
from engine.workspace import Workspace
from tests.benchmarks.report import Row, timed
from tests.support.published import header_file

FILES = 200
KINDS = (("sd1", "sd1"), ("sdxl", "sdxl"), ("sdxl", "sdxl"), ("flux", "flux_dev"))
"""What is in the folder, by turns: family and folder of configs."""
FRESH = (
    "import sys, time; from pathlib import Path; from engine import library; from engine.workspace import Workspace\n"
    "began = time.perf_counter(); library.models(Workspace(Path(sys.argv[1]))); print(time.perf_counter() - began)"
)


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    models = {
        configs: header_file(folder / f"{configs}.safetensors", family, _parts(family, configs)) for family, configs in KINDS
    }
    bounded, first, again, fresh = [], [], [], []
    for number in range(options.rounds):
        workspace = Workspace(folder / str(number)).prepare()
        for index in range(FILES):
            os.link(models[KINDS[index % len(KINDS)][1]], workspace.root / "models" / "checkpoints" / f"{index:03}.safetensors")
        bounded.append(timed(lambda place=workspace: library.models(place, 0.7)))
        first.append(timed(lambda place=workspace: library.models(place)))
        again.append(timed(lambda place=workspace: library.models(place)))
        told = subprocess.run([sys.executable, "-c", FRESH, workspace.root], capture_output=True, text=True, check=True)
        fresh.append(float(told.stdout))
    return [
        Row(f"{FILES} new models, as the page lists them", tuple(bounded), goal=1.0),
        Row("until every header is read, once", tuple(first)),
        Row("the list the next time", tuple(again), goal=0.2),
        Row("the list in a new process", tuple(fresh), goal=0.5),
    ]


def _parts(family: str, configs: str) -> dict:
    """Every part of a published model, on the meta device."""
    return {name: build_empty(part.kind, shipped_config(configs, name)) for name, part in MODELS[family].parts.items()}
