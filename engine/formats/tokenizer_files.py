"""Finding the CLIP tokenizer that belongs to a single-file checkpoint, which does not carry one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ModelError

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

HUB_ID = "openai/clip-vit-large-patch14"


def find_tokenizer(checkpoint: Path, config_folder: Path, vocabulary: int, offline: bool = False) -> CLIPTokenizer:
    """The first tokenizer with exactly `vocabulary` tokens among: the config folder, a `tokenizer` folder beside the
    checkpoint, the local Hugging Face cache, and the hub unless `offline`.

    Raises:
        ModelError: `model.no_tokenizer`, saying what to put where.
    """
    for tokenizer in _candidates(checkpoint, config_folder, offline):
        if len(tokenizer) == vocabulary:
            return tokenizer
    beside = checkpoint.parent / "tokenizer"
    raise ModelError(
        "model.no_tokenizer",
        f"No tokenizer with {vocabulary} words was found for {checkpoint.name}; a single file does not contain one.",
        f"The files vocab.json and merges.txt of {HUB_ID} were expected.",
        f"Put them into {beside}, or start once with a network connection.",
        path=checkpoint,
        folder=beside,
        vocabulary=vocabulary,
        hub_id=HUB_ID,
    )


def _candidates(checkpoint: Path, config_folder: Path, offline: bool) -> Iterator[CLIPTokenizer]:
    from transformers import CLIPTokenizer

    for folder in (config_folder / "tokenizer", config_folder, checkpoint.parent / "tokenizer"):
        if any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json")):
            yield CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    for local in (True, False):
        if local or not (offline or os.environ.get("HF_HUB_OFFLINE")):
            try:
                yield CLIPTokenizer.from_pretrained(HUB_ID, local_files_only=local)
            except (OSError, ValueError):
                continue
