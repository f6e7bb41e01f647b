"""`dataset check`: what training would take from a folder of pictures, and everything that is wrong."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from engine.cli.common import dataset_folder
from engine.datasets.dataset import Dataset
from engine.datasets.scan import scan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("check").add_argument
    add("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    dataset = scan(dataset_folder(options.place, options))
    print(json.dumps(record(dataset), ensure_ascii=False, indent=1) if options.json else table(dataset))
    return 0


def record(dataset: Dataset) -> dict:
    """The dataset as plain data; paths relative to its folder."""
    return {
        "folder": str(dataset.folder),
        "pictures": len(dataset.pictures),
        "views_per_epoch": dataset.views_per_epoch,
        "captions": dict(Counter(picture.caption_source for picture in dataset.pictures)),
        "concepts": [
            {
                "name": concept.name,
                "repeats": concept.repeats,
                "class_tokens": concept.class_tokens,
                "pictures": len(concept.pictures),
            }
            for concept in dataset.concepts
        ],
        "findings": [
            {"code": finding.code, "file": _below(finding.path, dataset.folder), "text": finding.text, "values": finding.values}
            for finding in dataset.findings
        ],
    }


def table(dataset: Dataset) -> str:
    """The same for people."""
    facts = record(dataset)
    captions = ", ".join(f"{count} from {source}" for source, count in facts["captions"].items())
    lines = [f"{facts['pictures']} pictures, {facts['views_per_epoch']} views an epoch; captions: {captions}"]
    lines += ["  {name}: {pictures} pictures x {repeats}".format(**concept) for concept in facts["concepts"]]
    lines += ["{file}: {text}".format(**finding) for finding in facts["findings"]] or ["Nothing is wrong with it."]
    return "\n".join(lines)


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
