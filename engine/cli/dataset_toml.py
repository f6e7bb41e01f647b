"""`dataset export` and `dataset import`: to and from Kohya's dataset TOML."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("export and import").add_argument
    add("--out", metavar="FILE", type=Path, help="where to write: the TOML, or the training settings that came with it")


def run(options: argparse.Namespace) -> int:
    raise NotImplementedError
