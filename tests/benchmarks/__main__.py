"""`python -m tests.benchmarks startup|training|generation [--model starter|tiny] [--rounds N] [--json FILE]`."""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from importlib import import_module
from pathlib import Path

os.environ |= {
    "GRADIO_ANALYTICS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
BENCHMARKS = ("startup", "training", "generation")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument(
        "--model", choices=["starter", "tiny"], default="starter", help="tiny: random weights, to see that it runs"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each measurement is made")
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        rows = import_module(f"tests.benchmarks.{options.name}").measure(options.model, options.rounds, Path(folder))
    from tests.benchmarks.report import machine, show, write

    on = machine()
    show(f"{options.name} ({options.model})", rows, on)
    if options.json:
        write(options.json, options.name, rows, on)


if __name__ == "__main__":
    main()
