"""What a dataset says about itself: kind, trigger word and folders written to `dataset.yaml`; and the same in Kohya's words."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from engine.config.dataset_file import ConceptOptions, DatasetFile
from engine.config.text import dump
from engine.config.train import Kind
from engine.datasets import alter
from engine.datasets.dataset_file import NAME, filled_in
from engine.datasets.journal import Write
from engine.datasets.kohya_toml import to_kohya_toml
from webui.datasets.altering import touched
from webui.datasets.opened import Asked, Here, Named, open_dataset
from webui.datasets.replies import Json

router = APIRouter(default_response_class=Json)


class Described(Asked):
    kind: Kind
    trigger: str
    concepts: list[ConceptOptions]
    """The folders that are trained on."""


class Moved(Named):
    """`folder`: a sub-folder, which may be a new one; "" is the dataset's own."""

    folder: str


@router.post("/concepts")
def describe(asked: Described, context: Here) -> dict[str, Any]:
    opened = open_dataset(asked.dataset, context)
    file = DatasetFile(kind=asked.kind, trigger=asked.trigger, concepts=asked.concepts)
    after = dump(filled_in(file).model_dump(mode="json")).encode()
    path = opened.folder / NAME
    before = path.read_bytes() if path.is_file() else None
    if after != before:
        opened.journal.apply("concepts", [Write(NAME, before, after)])
    return opened.changed([])


@router.post("/move")
def move(asked: Moved, context: Here) -> dict[str, Any]:
    opened = open_dataset(asked.dataset, context)
    entry = alter.move(opened.journal, opened.pictures(asked.names), asked.folder)
    return opened.changed(touched(entry) if entry else [])


@router.get("/export")
def export(dataset: str, context: Here) -> Response:
    text = to_kohya_toml(open_dataset(dataset, context).folder)
    headers = {"content-disposition": 'attachment; filename="dataset.toml"', "cache-control": "no-store"}
    return PlainTextResponse(text, headers=headers, media_type="application/toml; charset=utf-8")
