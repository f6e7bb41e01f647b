"""`dataset caption`: captions for the pictures of a dataset, by a tagger.

It is a job like those of the page, and Ctrl-C writes what is done. Started again it goes on: what was seen is remembered.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from engine.cli.common import workspace_of
from engine.cli.foreground import carry_out, exit_code
from engine.cli.train import describe_fields
from engine.config.caption import TAGGERS, WRITE_MODES, CaptionConfig
from engine.config.load import load, merge, parse_settings
from engine.jobs import actions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("caption").add_argument
    add("--tagger", metavar="NAME", help="the tagger: starter, a folder in models/taggers, a path, or a Hugging Face id")
    add("--kind", choices=list(TAGGERS), help="its kind; default: wd14")
    add("--write", choices=WRITE_MODES, help="what becomes of captions that are there; default: missing")
    add("--trigger", metavar="WORD", help="a word that every written caption begins with")
    add("--dry-run", action="store_true", help="show what would be written, and write nothing")
    add("--set", metavar="FIELD=VALUE", action="append", default=[], help="change one setting; may be repeated")
    parser.epilog = "settings of caption:\n" + "\n".join(describe_fields(CaptionConfig))


def run(options: argparse.Namespace) -> int:
    workspace = workspace_of(options).prepare()
    job = carry_out(actions.start_captioning(config_of(options), workspace), workspace)
    if job.result:
        print(json.dumps(job.result, ensure_ascii=False, indent=1) if options.json else table(job.result))
    return exit_code(job)


def config_of(options: argparse.Namespace) -> CaptionConfig:
    """The settings that the arguments make. Raises ConfigError."""
    here = Path(options.place).expanduser()
    tagger = {"kind": options.kind, "model": _anywhere(options.tagger or "")}
    given: dict[str, Any] = {
        "dataset": str(here.resolve()) if here.is_dir() else options.place, "write": options.write, "trigger": options.trigger,
        "dry_run": options.dry_run, "tagger": {name: value for name, value in tagger.items() if value},
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    return load(CaptionConfig, None, merge(given, parse_settings(options.set)))


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [f"{change['name']}: {change['after']}" for change in result["changes"]]
    lines += [f"{each['name']} was passed over: {each['message']}" for each in result["skipped"]]
    verb = "would be" if result["dry_run"] else "were"
    changed = sum(change["before"] != change["after"] for change in result["changes"])
    return "\n".join([*lines, f"{changed} captions {verb} written; {len(result['skipped'])} pictures were passed over."])


def _anywhere(tagger: str) -> str:
    """A tagger named so that a process in another folder finds it: a path typed from here becomes absolute."""
    return str(Path(tagger).expanduser().resolve()) if tagger.startswith((".", "~")) else tagger
