"""`dataset check`: whether one can train on a folder of pictures, and everything that is wrong with it."""

from __future__ import annotations

import argparse
import json
import sys

from engine.cli.common import dataset_folder, workspace_of
from engine.config.check import CheckConfig
from engine.config.load import validate
from engine.datasets.doctor.examination import examine_folder
from engine.datasets.doctor.finding import SEVERITIES, Finding
from engine.datasets.doctor.report import Report

VERDICTS = {"ready": "Ready to train.", "fix_first": "Fix these first.", "must_not": "Not ready to train."}
TITLES = {"error": "Errors", "warning": "Warnings", "advice": "Good to know"}
SHOWN = 5
"""Findings of one kind that the table names; --json has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "check", "exits with 0 when one can train, also where something should be fixed first, and with 1 when one must not"
    )
    add = group.add_argument
    add("--json", action="store_true", help="print a list of {file, code, severity, message, values, also, remedy}")
    add("--model", metavar="NAME", default="starter", help="the base model to train on; default: starter")
    add("--resolution", metavar="N", type=int, default=0, help="side of the training square in px; default: the model's own")
    add("--batch-size", metavar="N", type=int, default=1, help="pictures per step; default: 1")


def run(options: argparse.Namespace) -> int:
    settings = {"model": options.model, "resolution": options.resolution, "batch_size": options.batch_size}
    folder, config = dataset_folder(options.place, options), validate(CheckConfig, settings)
    report = examine_folder(folder, config, workspace_of(options), _progress if sys.stderr.isatty() else _quiet)
    findings = [found.to_dict() for found in report.findings]
    print(json.dumps(findings, ensure_ascii=False, indent=1) if options.json else table(report))
    return int(report.verdict == "must_not")


def table(report: Report) -> str:
    """A report for people: the verdict, then what was found, gravest first and kind by kind."""
    facts, lines = report.facts, [f"{VERDICTS[report.verdict]} {report.why}"]
    if facts:
        captions = ", ".join(f"{count} from {source}" for source, count in facts["captions"].items())
        lines.append(f"{facts['pictures']} pictures, {facts['views_per_epoch']} views an epoch; captions: {captions or 'none'}")
        lines.append(f"for {facts['model']} at {facts['resolution']} px, {facts['buckets']} buckets")
        lines += ["  {name}: {pictures} pictures x {repeats}".format(**concept) for concept in facts["concepts"]]
    for severity in SEVERITIES:
        groups: dict[str, list[Finding]] = {}
        for found in report.findings:
            if found.severity == severity:
                groups.setdefault(found.code, []).append(found)
        if groups:
            lines += ["", TITLES[severity], *(line for group in groups.values() for line in _group(group))]
    return "\n".join(lines)


def _group(findings: list[Finding]) -> list[str]:
    """Findings of one code."""
    lines = [f"  {findings[0].code} ({len(findings)})"]
    for found in findings[:SHOWN]:
        also = f" (also {', '.join(found.also)})" if found.also else ""
        lines.append(f"    {found.file}{also}: {found.message}" if found.file else f"    {found.message}")
    return lines + ([f"    ... and {len(findings) - SHOWN} more"] if len(findings) > SHOWN else [])


def _progress(done: int, total: int) -> None:
    print(f"\r{done} of {total} pictures", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _quiet(done: int, total: int) -> None:
    """Nobody is watching."""
