"""The whole examination: read the dataset, look at every picture, ask every check, and keep the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.config.check import CheckConfig
from engine.config.choices import ModelChoice
from engine.datasets.album_files import list_files
from engine.datasets.bucket_plan import BucketOptions, BucketPlan, plan_buckets
from engine.datasets.dataset import Dataset
from engine.datasets.dataset_file import read_dataset_file
from engine.datasets.doctor.case import Case
from engine.datasets.doctor.checks import CHECKS
from engine.datasets.doctor.files import scanned
from engine.datasets.doctor.finding import Finding, finding
from engine.datasets.doctor.kept import keep
from engine.datasets.doctor.look import Progress, look_at_all
from engine.datasets.doctor.report import Report, in_order
from engine.datasets.scan import nothing_to_learn, survey
from engine.errors import DatasetError, EngineError
from engine.file_notes import FileNotes
from engine.library import choose
from engine.model_facts import ModelFacts
from engine.workspace import Workspace

UNUSABLE = ("dataset.unreadable_folder", "dataset.file", "dataset.repeats")
"""Errors of a dataset that is there but cannot be read at all."""


def examine(config: CheckConfig, workspace: Workspace, on_progress: Progress) -> Report:
    """Look through a dataset. The report is kept for `last_report`.

    Args:
        on_progress: called with pictures done and all; it may raise Interrupted, and the next examination goes on from there.

    Raises:
        DatasetError: `dataset.not_a_folder`.
        PathError: `path.not_allowed`.
        ModelError: there is no such base model.
    """
    folder = workspace.dataset_folder(config.dataset)
    before = list_files(folder)
    report = _examined(config, folder, workspace, on_progress)
    keep(report, config, folder, before, workspace)
    return report


def _examined(config: CheckConfig, folder: Path, workspace: Workspace, on_progress: Progress) -> Report:
    model = _model(config, workspace)
    try:
        dataset = survey(folder, trigger=config.trigger.strip())
    except DatasetError as error:
        if error.code not in UNUSABLE:
            raise
        return Report([_from(error)])
    looks = look_at_all([picture.path for picture in dataset.pictures], FileNotes(workspace.cache), on_progress)
    case = _case(config, dataset, model, looks)
    nothing = nothing_to_learn(dataset) or (None if case.learnt else _nothing_left(len(looks)))
    if nothing:
        checks = (scanned, *CHECKS[1:2])
        return Report(in_order([_from(nothing), *(found for check in checks for found in check(case))]), _facts(case))
    found = [_from(case_error) for case_error in ()]
    try:
        case = replace(case, buckets=_buckets(config, case))
    except DatasetError as error:
        found.append(_from(error))
    found += [each for check in CHECKS for each in check(case)]
    return Report(in_order(found), _facts(case))
