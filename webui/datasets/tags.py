"""The tags of the pictures that the filters show, and which of them the trigger word should stand for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from engine.config.dataset_file import DatasetFile
from engine.datasets.dataset_file import read_dataset_file
from engine.datasets.tags import prune_suggestions, tag_table
from webui.datasets.browsing import Found, Wanted, found
from webui.datasets.opened import Here, open_dataset
from webui.datasets.replies import Json
from webui.i18n import t

router = APIRouter(default_response_class=Json)


@router.post("/tags")
def tags(asked: Found, request: Request, context: Here) -> dict[str, Any]:
    """Counted in the pictures found, but for the suggestions, which are about all that are trained on."""
    opened, language = open_dataset(asked.dataset, context), context.language(request)
    said = read_dataset_file(opened.folder) or DatasetFile()
    captions = [opened.album.entries[name].caption for name in found(opened, asked.query)]
    every = [opened.album.entries[name].caption for name in found(opened, Wanted())]
    return {
        "tags": [asdict(row) for row in tag_table(captions, said.trigger)],
        "captions": sum(map(bool, captions)),
        "suggestions": [
            {"tag": each.tag, "share": each.share, "reason": t(f"text.dataset.prune.{each.reason}", language, share=round(each.share * 100))}
            for each in prune_suggestions(filter(None, every), said.trigger, said.kind)
        ],
    }  # fmt: skip
