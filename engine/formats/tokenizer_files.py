"""Finding the tokenizer that belongs to a text encoder of a single-file checkpoint, which does not carry one.

Vocabularies that ship lie in `engine/families/tokenizers`, one folder a kind; what models do with them (padding, length, the
form of a chat) stands in their configs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ModelError
from engine.formats.models.base import PartKind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZERS = Path(__file__).parents[1] / "families" / "tokenizers"
FILES = ("tokenizer.json", "vocab.json", "spiece.model")
"""Any of these makes a folder a tokenizer."""
MOST_PADDING = 511
"""Rows that an encoder may have more than its tokenizer has words: T5 has 28, Qwen3 267, CLIP none."""


@dataclass(frozen=True)
class TokenizerKind:
    """Attributes:
    name: of its folder in TOKENIZERS and in `tokenizers/` beside checkpoints.
    class_name: in transformers.
    hub_id: a small model on the hub that has it.
    """

    name: str
    class_name: str
    hub_id: str


_CLIP = TokenizerKind("clip", "CLIPTokenizer", "openai/clip-vit-large-patch14")
TOKENIZER_KINDS: dict[PartKind, TokenizerKind] = {
    "clip": _CLIP,
    "clip_projected": _CLIP,
    "t5": TokenizerKind("t5", "T5Tokenizer", "google-t5/t5-small"),
    "qwen3": TokenizerKind("qwen3", "Qwen2Tokenizer", "Qwen/Qwen3-4B"),
}
"""Text encoder -> its tokenizer."""


def find_tokenizer(
    checkpoint: Path, encoder: PartKind, config: Path, vocabulary: int, offline: bool = False
) -> PreTrainedTokenizerBase:
    """The first tokenizer that fits, among: the one that ships, `tokenizers/<kind>` and the folder of a diffusers model beside
    the checkpoint, the local Hugging Face cache, and the hub unless `offline`.

    Args:
        encoder: which network reads its tokens.
        config: the tokenizer's folder in the model's shipped configs; its settings hold for every vocabulary.
        vocabulary: rows of the encoder's embedding.

    Raises:
        ModelError: `model.no_tokenizer`, saying what to put where.
    """
    kind = TOKENIZER_KINDS[encoder]
    for tokenizer in _candidates(checkpoint, kind, config.name, offline):
        if 0 <= vocabulary - len(tokenizer) <= MOST_PADDING:
            return with_settings(tokenizer, config)
    beside = checkpoint.parent / "tokenizers" / kind.name
    raise ModelError(
        "model.no_tokenizer",
        f"No tokenizer with {vocabulary} words was found for {checkpoint.name}; a single file does not contain one.",
        f"The file tokenizer.json of {kind.hub_id} was expected.",
        f"Put it into {beside}, or start once with a network connection.",
        path=checkpoint.name, folder=beside, vocabulary=vocabulary, hub_id=kind.hub_id,
    )  # fmt: skip


def with_settings(tokenizer: Any, config: Path) -> Any:
    """The tokenizer, set as the `tokenizer_config.json` of a folder says."""
    for name, value in json.loads((config / "tokenizer_config.json").read_text(encoding="utf-8")).items():
        if name != "tokenizer_class":
            setattr(tokenizer, name, value)
    return tokenizer


def _candidates(checkpoint: Path, kind: TokenizerKind, folder: str, offline: bool) -> Iterator[PreTrainedTokenizerBase]:
    import transformers
    from huggingface_hub import hf_hub_download

    made = getattr(transformers, kind.class_name)
    for place in (TOKENIZERS / kind.name, checkpoint.parent / "tokenizers" / kind.name, checkpoint.parent / folder):
        if any((place / name).is_file() for name in FILES):
            yield made.from_pretrained(place, local_files_only=True)
    for local in (True, False):
        if local or not (offline or os.environ.get("HF_HUB_OFFLINE")):
            try:  # by the file: of a name alone transformers makes a tokenizer without words where it finds nothing
                file = hf_hub_download(kind.hub_id, "tokenizer.json", local_files_only=local)
            except (OSError, ValueError):
                continue
            yield made.from_pretrained(Path(file).parent, local_files_only=True)
