"""Check this machine: what is there, what is missing, what to do."""

from __future__ import annotations

import argparse

from engine import doctor
from engine.cli.common import workspace_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(options: argparse.Namespace) -> int:
    return doctor.main(workspace_of(options))
