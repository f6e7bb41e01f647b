"""A tagger on Hugging Face: which of its files are needed. Weights are taken as .safetensors alone, since a pickle can carry code."""

from __future__ import annotations

import re
from collections.abc import Collection

from engine.datasets.taggers.kinds import CONFIG, MODEL, TABLE, unusable
from engine.downloads.hub import Listing
from engine.downloads.web import Web
from engine.formats.weight_names import best_variant, weight_sets

SETTINGS = re.compile(
    r"(generation_config|preprocessor_config|processor_config|video_preprocessor_config|tokenizer|tokenizer_config|special_tokens_map"
    r"|added_tokens|vocab|chat_template)\.json|vocab\.txt|merges\.txt|chat_template\.jinja|(spiece|tokenizer)\.model"
)
"""What says how text and pictures become numbers, beside config.json and the weights."""


def config_of(web: Web, listing: Listing) -> dict:
    """config.json of a repository, {} where there is none. Raises DownloadError."""
    remote = listing.files.get(CONFIG)
    config = web.json(remote.address) if remote else {}
    return config if isinstance(config, dict) else {}


def tagger_files(repo: str, kind: str, paths: Collection[str]) -> list[str]:
    """What of a repository is read here.

    Raises:
        ModelError: `tagger.unusable`.
    """
    if kind == "wd14":
        return [MODEL, TABLE]
    variant = best_variant(paths)
    if variant is None:
        raise unusable(repo, "its weights are not there as .safetensors files")
    return [CONFIG, *weight_sets(paths)[variant], *sorted(path for path in paths if SETTINGS.fullmatch(path))]
