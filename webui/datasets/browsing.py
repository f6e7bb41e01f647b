"""The pictures of a dataset that pass the filters: a page of them to draw, or all their names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from functools import cache
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from engine.datasets.album import Entry, Query
from engine.datasets.album_query import Sort
from engine.datasets.bucket_plan import BucketOptions, fitting
from engine.datasets.buckets import Size
from engine.errors import DatasetError
from webui.datasets.opened import Asked, Here, Opened, open_dataset
from webui.datasets.replies import Json

router = APIRouter()
MOST = 500
"""Pictures of one page."""


class Rule(BaseModel):
    """How pictures are put into buckets, px; 0 is the usual."""

    model_config = ConfigDict(extra="forbid")

    resolution: Annotated[int, Ge(8), Le(4096)] = 512
    minimum: Annotated[int, Ge(0), Le(4096)] = 0
    maximum: Annotated[int, Ge(0), Le(8192)] = 0
    step: Annotated[int, Ge(1), Le(512)] = 64
    no_upscale: bool = False

    def options(self) -> BucketOptions:
        return BucketOptions(self.resolution, self.step, self.minimum, self.maximum, self.no_upscale)


class Wanted(BaseModel):
    """Filters, all of which a picture must pass.

    Attributes:
        finding: a code of the last check's findings.
        problem, masked: only those whose picture or caption cannot be read, and those that have a mask.
    """

    model_config = ConfigDict(extra="forbid")

    text: str = ""
    tags: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    concept: str | None = None
    bucket: str | None = None
    uncaptioned: bool = False
    excluded: bool = False
    finding: str | None = None
    problem: bool = False
    masked: bool = False
    sort: Sort = "name"
    rule: Rule = Rule()


class Found(Asked):
    query: Wanted = Wanted()


class Page(Found):
    start: Annotated[int, Ge(0)] = 0
    count: Annotated[int, Ge(1), Le(MOST)] = 100


@router.post("/page")
def page(asked: Page, context: Here) -> Json:
    opened = open_dataset(asked.dataset, context)
    names, entries = found(opened, asked.query), opened.album.entries
    placed = _buckets(asked.query.rule)
    shown = [entries[name] for name in names[asked.start : asked.start + asked.count] if name in entries]
    return Json({
        "total": len(names), "indexed": opened.album.indexed, "whole": opened.album.whole,
        "entries": [told(entry, placed((entry.width, entry.height))) for entry in shown],
    })  # fmt: skip


@router.post("/names")
def names(asked: Found, context: Here) -> Json:
    return Json({"names": found(open_dataset(asked.dataset, context), asked.query)})


def found(opened: Opened, wanted: Wanted) -> list[str]:
    """Names of the pictures that pass, in the order asked for."""
    album = opened.album
    only: set[str] | None = None
    for asked, names in ((wanted.finding, _with_finding), (wanted.problem, _with_problem), (wanted.masked, _masked)):
        if asked:
            some = set(names(opened, wanted))
            only = some if only is None else only & some
    query = Query(
        wanted.text,
        wanted.tags,
        wanted.without,
        wanted.concept,
        wanted.bucket,
        wanted.uncaptioned,
        wanted.excluded,
        only,
        wanted.sort,
    )
    if not wanted.bucket:
        return album.find(query)
    placed = _buckets(wanted.rule)
    buckets = {name: placed(size) for name, size in album.sizes.items()}
    return album.find(query, {name: bucket for name, bucket in buckets.items() if bucket})


def told(entry: Entry, bucket: Size | None = None) -> dict[str, Any]:
    """An entry as the scripts take it. Their numbers are too short for a time in ns, so the stamp is text."""
    return {**asdict(entry), "stamp": str(entry.stamp), "bucket": "{}x{}".format(*bucket) if bucket else ""}


def _buckets(rule: Rule) -> Any:
    """What finds the bucket of a size; None for a picture that cannot be read or fits none."""
    try:
        fit = fitting(rule.options())
    except DatasetError:  # sides that contradict each other are the bucket preview's to report
        return lambda size: None

    @cache
    def bucket(size: Size) -> Size | None:
        try:
            return fit(size).bucket if size[0] else None
        except DatasetError:
            return None

    return bucket


def _with_problem(opened: Opened, wanted: Wanted) -> Collection[str]:
    return [name for name, entry in opened.album.entries.items() if entry.problem]


def _masked(opened: Opened, wanted: Wanted) -> Collection[str]:
    return [name for name, entry in opened.album.entries.items() if entry.masked]


def _with_finding(opened: Opened, wanted: Wanted) -> Collection[str]:
    report = opened.report
    findings = report.findings if report else []
    return [name for each in findings if each.code == wanted.finding for name in (each.file, *each.also)]
