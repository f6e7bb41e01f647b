"""Writing a tiny model: a folder that gets its name when it is whole, or one file with its tokenizers beside it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.formats.models import MODELS
from engine.formats.models.base import Variant
from engine.formats.single_file_writer import write_single_file
from engine.formats.tokenizer_files import TOKENIZER_KINDS
from engine.tiny.pipeline import tiny_pipeline
from engine.workspace import atomic_write, sync_folder


def write_tiny(family: str, place: Path, seed: int, variant: str | None, single_file: bool) -> Path:
    """See `engine.tiny.make_tiny`."""
    name, chosen = _variant(family, variant)
    if place.exists() and not (place.is_dir() and not single_file and not any(place.iterdir())):
        raise ModelError(
            "model.place_taken", f"{place} exists already.", "A new name was expected.", "Choose another name.",
            path=place, field="DIR",
        )  # fmt: skip
    scheduler = {} if chosen.prediction == "flow" else {"prediction_type": chosen.prediction}
    pipeline = tiny_pipeline(family, chosen.configs, seed, scheduler)
    if not single_file:
        return save_pipeline(pipeline, place)
    networks = {part: pipeline.components[part] for part in MODELS[family].parts}
    save_tokenizers(pipeline, family, place.parent / "tokenizers")
    write_single_file(place, family, networks, name, chosen.prediction, 64)
    return place


def _variant(family: str, variant: str | None) -> tuple[str, Variant]:
    """Name and facts of a variant. Raises ModelError: `model.no_tiny`."""
    known: dict[str, Any] = dict(MODELS[family].variants) if family in MODELS else {}
    name = variant or next(iter(known), "")
    if name not in known:
        wanted = ", ".join(known or MODELS)
        raise ModelError(
            "model.no_tiny", f"There is no tiny model {family}{f' {variant}' if known else ''}.", f"One of {wanted} was expected.",
            "Choose one of these.", name=name or family, known=wanted, field="--variant" if known else "FAMILY",
        )  # fmt: skip
    return name, known[name]


def save_pipeline(pipeline: Any, folder: Path) -> Path:
    """Save a pipeline as a diffusers folder, which must not exist or be empty."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as staging:
        whole = Path(staging) / "model"
        pipeline.save_pretrained(whole)
        if folder.exists():
            folder.rmdir()
        os.replace(whole, folder)
    sync_folder(folder.parent)
    return folder


def save_tokenizers(pipeline: Any, family: str, folder: Path) -> None:
    """Write a pipeline's tokenizers where `find_tokenizer` looks for them: one file for each kind."""
    model = MODELS[family]
    for encoder, tokenizer in model.tokenizers.items():
        kind = TOKENIZER_KINDS[model.parts[encoder].kind]
        with atomic_write(folder / kind.name / "tokenizer.json", "w") as stream:
            stream.write(pipeline.components[tokenizer].backend_tokenizer.to_str())
