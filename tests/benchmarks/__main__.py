"""`python -m tests.benchmarks NAME [--rounds N] [--json FILE]`.

startup | library | training | generation [--model starter|tiny]
adapters [--layers tiny|sd15] [--dtype fp32|bf16] [--only NAME ...]
mascot [--only NAME ...] [--steps N] [--json FILE]     the table goes on from FILE
datasets [--pictures N]     a dataset of so many pictures in the page, measured once
memory [--only NAME ...]     forecast and measured, scaled down without CUDA; --model tiny: a single small case
"""

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
BENCHMARKS = ("startup", "library", "training", "generation", "adapters", "mascot", "memory", "datasets")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument(
        "--model", choices=["starter", "tiny"], default="starter", help="tiny: random weights, to see that it runs"
    )
    parser.add_argument("--layers", choices=["tiny", "sd15"], default="tiny", help="adapters: how large the layers are")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32", help="adapters: number format of the base")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="adapters, mascot: these algorithms only; memory: these cases"
    )
    parser.add_argument("--steps", type=int, default=0, help="mascot: length of each run; 0 is the preset's")
    parser.add_argument("--pictures", type=int, default=0, help="datasets: how many; 0 is 10,000, with --model tiny 200")
    parser.add_argument("--rounds", type=int, default=0, help="how often each measurement is made; 0 is 3, of adapters 30")
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    options = parser.parse_args()
    options.rounds = options.rounds or (30 if options.name == "adapters" else 3)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        rows = import_module(f"tests.benchmarks.{options.name}").measure(options, Path(folder))
    if not rows:  # it has shown and written its own table
        return
    from tests.benchmarks.report import machine, show, write

    on = machine()
    show(f"{options.name} ({variant(options)})", rows, on)
    if options.json:
        write(options.json, options.name, rows, on)


def variant(options: argparse.Namespace) -> str:
    if options.name == "datasets":
        return f"{options.pictures:,} pictures"
    if options.name == "memory":
        return "tiny" if options.model == "tiny" else "real networks"
    return f"{options.layers}, {options.dtype}" if options.name == "adapters" else options.model


if __name__ == "__main__":
    main()
