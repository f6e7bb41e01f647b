"""The whole examination: read the dataset, look at every picture, ask every check, and keep the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.config.check import CheckConfig
from engine.config.choices import ModelChoice
from engine.config.dataset_file import DatasetFile
from engine.datasets.album_files import list_files
from engine.datasets.bucket_plan import BucketOptions, BucketPlan, plan_buckets
from engine.datasets.dataset import Dataset
from engine.datasets.dataset_file import read_dataset_file
from engine.datasets.doctor.case import Case
from engine.datasets.doctor.checks import CHECKS, FILE_CHECKS
from engine.datasets.doctor.finding import Finding, finding
from engine.datasets.doctor.kept import keep
from engine.datasets.doctor.look import Look, Progress, look_at_all
from engine.datasets.doctor.report import Report, in_order
from engine.datasets.scan import nothing_to_learn, survey
from engine.errors import DatasetError, EngineError
from engine.file_notes import FileNotes
from engine.library import choose
from engine.model_facts import ModelFacts
from engine.workspace import Workspace

CANNOT_BE_READ = ("dataset.unreadable_folder", "dataset.file", "dataset.repeats")
"""What is wrong with a dataset that is there and of which no picture can be told."""


def examine(config: CheckConfig, workspace: Workspace, on_progress: Progress) -> Report:
    """Look through the dataset that a config names. The report is kept for `last_report`.

    Raises:
        PathError: `path.not_allowed`; else as `examine_folder`.
    """
    return examine_folder(workspace.dataset_folder(config.dataset), config, workspace, on_progress)


def examine_folder(folder: Path, config: CheckConfig, workspace: Workspace, on_progress: Progress) -> Report:
    """The same for any folder, for a caller who may read them all.

    Args:
        on_progress: called with pictures done and all; it may raise Interrupted, and the next examination goes on from there.

    Raises:
        DatasetError: `dataset.not_a_folder`.
        ModelError: there is no such base model.
    """
    model, files = choose(ModelChoice(config.model), workspace), list_files(folder)
    try:
        report = _report(config, folder, model, workspace, on_progress)
    except DatasetError as error:
        if error.code not in CANNOT_BE_READ:
            raise
        report = Report([_blocking(error)])
    keep(report, config, folder, files, workspace)
    return report


def _report(config: CheckConfig, folder: Path, model: ModelFacts, workspace: Workspace, on_progress: Progress) -> Report:
    dataset = survey(folder, trigger=config.trigger.strip())
    looks = look_at_all([picture.path for picture in dataset.pictures], FileNotes(workspace.cache), on_progress)
    case = _case(config, dataset, read_dataset_file(folder) or DatasetFile(), model, looks)
    checks, blocking = CHECKS, []
    try:
        if problem := nothing_to_learn(dataset) or _nothing_left(case):
            checks = FILE_CHECKS
            raise problem
        case = replace(case, buckets=_buckets(config, case))
    except DatasetError as error:
        blocking = [_blocking(error)]
    return Report(in_order([*blocking, *(found for check in checks for found in check(case))]), _facts(case))


def _case(config: CheckConfig, dataset: Dataset, file: DatasetFile, model: ModelFacts, looks: dict[Path, Look]) -> Case:
    return Case(
        dataset=dataset, looks=looks, model=model,
        resolution=config.resolution or model.resolution,
        kind=config.kind or file.kind,
        trigger=config.trigger.strip() or file.trigger.strip(),
        batch_size=config.batch_size, no_upscale=config.no_upscale,
    )  # fmt: skip


def _buckets(config: CheckConfig, case: Case) -> BucketPlan:
    """Raises DatasetError: codes `bucket.*`."""
    options = BucketOptions(
        case.resolution, config.bucket_step or case.model.step, config.bucket_min, config.bucket_max, config.no_upscale,
        config.enable_buckets, config.batch_size,
    )  # fmt: skip
    repeats = dict(zip((case.name(picture.path) for picture in case.dataset.pictures), case.dataset.repeats, strict=True))
    return plan_buckets({name: picture.size for name, picture in case.readable.items()}, options, repeats)


def _nothing_left(case: Case) -> DatasetError | None:
    if case.learnt:
        return None
    what = "Not one picture that is to be learnt can be read."
    return DatasetError("dataset.nothing_left", what, todo="Replace the damaged files named below.")


def _blocking(error: EngineError) -> Finding:
    """An error of the whole dataset as a finding."""
    return finding(error.code, "", str(error), **{name: value for name, value in error.values.items() if name != "field"})


def _facts(case: Case) -> dict[str, Any]:
    dataset = case.dataset
    return {
        "pictures": len(case.readable),
        "views_per_epoch": dataset.views_per_epoch,
        "captions": dict(Counter(picture.caption_source for picture in case.readable.values())),
        "concepts": [
            {
                "name": each.name,
                "repeats": each.repeats,
                "pictures": sum(case.name(picture.path) in case.readable for picture in each.pictures),
                "regularisation": each.regularisation,
            }
            for each in dataset.concepts
        ],
        "model": case.model.name,
        "family": case.model.family,
        "resolution": case.resolution,
        "kind": case.kind,
        "trigger": case.trigger,
        "buckets": len(case.buckets.buckets) if case.buckets else 0,
    }
