"""Look into a LoRA or another adapter file. Only its header is read."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from engine.formats.summary import AdapterSummary, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["inspect"], help="what to do")
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    summary = describe(options.file)
    print(json.dumps(asdict(summary), default=str, ensure_ascii=False, indent=1) if options.json else table(summary))
    return 0


def table(summary: AdapterSummary) -> str:
    """The summary as lines; what the file does not tell is left out."""
    algorithm = summary.algorithm + (" with DoRA" if summary.dora else "")
    modules = ", ".join(f"{name} {count}" for name, count in summary.modules.items())
    base = f"{summary.base} ({summary.base_name})" if summary.base_name else summary.base
    rows = {
        "name": summary.name, "trained as": summary.output_name, "format": summary.format, "algorithm": algorithm,
        "rank": ", ".join(map(str, summary.ranks)), "modules": modules, "base": base, "trigger": summary.trigger,
        "pictures": summary.pictures, "resolution": summary.resolution, "created": summary.created,
        "tags": ", ".join(f"{tag} ({count})" for tag, count in summary.tags), "description": summary.description,
        "hash": summary.model_hash, "size": f"{summary.size / 1e6:.1f} MB",
    }  # fmt: skip
    return "\n".join(f"{name:<12} {value}" for name, value in rows.items() if value)
