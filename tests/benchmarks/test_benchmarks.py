"""The benchmarks run and say what they ran on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["startup", "library", "training", "generation", "adapters", "memory", "datasets"])
def test_a_benchmark_prints_a_table_and_writes_it(tmp_path: Path, name: str) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks",
        name,
        "--model",
        "tiny",
        "--rounds",
        "1",
        "--json",
        str(tmp_path / "out.json"),
        *(["--only", "lora", "boft"] if name == "adapters" else []),
    ]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    data = json.loads((tmp_path / "out.json").read_text())
    assert data["machine"]["torch"] and data["machine"]["name"] in told.stdout
    assert all(row["median"] > 0 or "LoRA" in row["name"] for row in data["rows"])
    assert all(row["name"] in told.stdout for row in data["rows"])
