"""What a file tells about itself, changed: title, trigger words, description, author, tags, licence and cover. The weights stay bit for bit.

The hashes of the weights stay true, since metadata is no part of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.config.tools import REMOVE, EditOptions
from engine.formats.cover import make_cover
from engine.formats.safetensors_copy import copy_safetensors
from engine.formats.safetensors_header import read_header
from engine.tools.bench import Bench, Report

ENTRIES = {
    "title": "modelspec.title", "trigger": "modelspec.trigger_phrase", "description": "modelspec.description",
    "author": "modelspec.author", "tags": "modelspec.tags", "license": "modelspec.license", "cover": "modelspec.thumbnail",
}  # fmt: skip
"""Setting -> entry of the metadata."""


def edit(options: EditOptions, bench: Bench) -> Report:
    """The report has `changed`: the settings that were given.

    Raises:
        DatasetError: the cover is no readable picture. AdapterError: it stays too large.
    """
    ((path, _),) = bench.plan.files
    given = {name: value for name in ENTRIES if (value := getattr(options, name).strip())}
    if bench.plan.cover:
        given["cover"] = make_cover(bench.plan.cover)
    copy_safetensors(path, bench.out, edited(read_header(path).metadata, given), on_tensor=bench.on_progress)
    return {"changed": sorted(given)}


def edited(metadata: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The metadata with the given settings; those that are `REMOVE` are taken out."""
    wanted = {ENTRIES[name]: value for name, value in given.items()}
    card = {"modelspec.sai_model_spec": "1.0.1"} if wanted else {}
    return {key: value for key, value in {**card, **metadata, **wanted}.items() if wanted.get(key) != REMOVE}
