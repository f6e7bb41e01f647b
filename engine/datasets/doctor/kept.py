"""The last report on each dataset, kept in the workspace's cache, and what has changed since."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.config.check import CheckConfig
from engine.datasets.album_files import Files, is_excluded, list_files
from engine.datasets.doctor.report import Report
from engine.datasets.listing import natural_key
from engine.errors import DatasetError
from engine.workspace import Workspace, atomic_write

FORMAT = 1


@dataclass(frozen=True)
class Kept:
    """Attributes:
    config: what it was examined for.
    at: when, s since 1970.
    """

    report: Report
    config: CheckConfig
    at: float
    folder: Path
    stamps: Mapping[str, list]

    @cached_property
    def changed(self) -> list[str]:
        """Pictures that are new, gone or other than they were examined, or their captions are, as of the first time it is asked."""
        try:
            now = _stamps(list_files(self.folder))
        except DatasetError:
            now = {}
        return sorted((name for name in {*now, *self.stamps} if now.get(name) != self.stamps.get(name)), key=natural_key)

    @cached_property
    def standing(self) -> Report:
        """The report without what was found on pictures that are not as they were examined."""
        changed = set(self.changed)
        left = [found for found in self.report.findings if changed.isdisjoint((found.file, *found.also))]
        return Report(left, self.report.facts)


def keep(report: Report, config: CheckConfig, folder: Path, files: Mapping[str, Files], workspace: Workspace) -> None:
    """Keep a report in place of the last one.

    Args:
        files: as they were before anything was read.
    """
    with atomic_write(_place(folder, workspace), "w") as stream:
        record = {
            "format": FORMAT, "report": report.to_dict(), "config": config.model_dump(mode="json"), "at": time.time(),
            "stamps": _stamps(files),
        }  # fmt: skip
        json.dump(record, stream, ensure_ascii=False)


def last_report(folder: Path, workspace: Workspace) -> Kept | None:
    """The last examination of a dataset; None where there was none, or it was kept by another version of this program."""
    try:
        record = json.loads(_place(folder, workspace).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            return None
        config = CheckConfig.model_validate(record["config"])
        return Kept(Report.from_dict(record["report"]), config, record["at"], folder, record["stamps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _place(folder: Path, workspace: Workspace) -> Path:
    """Where the report is kept; a dataset is the same by whichever links it is reached."""
    return workspace.cache / "checks" / f"{hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:32]}.json"


def _stamps(files: Mapping[str, Files]) -> dict[str, list[Any]]:
    """Name -> what changes with the picture and its caption; those taken out are no part of the dataset."""
    return {name: [*each.picture, each.caption_file, *each.caption] for name, each in files.items() if not is_excluded(name)}
