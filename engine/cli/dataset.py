"""Check a folder of pictures: what training would take from it, and everything that is wrong."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from engine.cli.common import workspace_of
from engine.datasets.dataset import Dataset
from engine.datasets.scan import scan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["check"], help="what to do")
    parser.add_argument("folder", metavar="DIR", help="a folder, or the name of a dataset such as practice/mascot")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    here = Path(options.folder).expanduser()
    dataset = scan(here if here.is_dir() else workspace_of(options).dataset_folder(options.folder))
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
