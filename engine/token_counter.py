"""Counting the tokens of a text as a base model reads it, without loading the model.

Knows where tokenizers lie; what a text is cut into for the encoders is `engine.generation.prompt`'s business.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.formats.models import MODELS
from engine.formats.tokenizer_files import TOKENIZER_KINDS, TOKENIZERS
from engine.model_facts import ModelFacts

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def reader(facts: ModelFacts) -> str:
    """The text encoder that reads the whole text; where several do, the first."""
    encoders = MODELS[facts.family].text_encoders
    return encoders[-1 if facts.habits.text_length else 0]


def tokenizer_file(facts: ModelFacts) -> Path | None:
    """`tokenizer.json` of a model: in its folder, beside its file, or the one that ships; None where there is none."""
    model, encoder, location = MODELS[facts.family], reader(facts), Path(facts.location)
    kind = TOKENIZER_KINDS[model.parts[encoder].kind].name
    own = location if location.is_dir() else location.parent
    places = [own / model.tokenizers[encoder], own / "tokenizers" / kind, TOKENIZERS / kind]
    return next((place / "tokenizer.json" for place in places if (place / "tokenizer.json").is_file()), None)


def model_tokenizer(facts: ModelFacts) -> Tokenizer | None:
    """The model's tokenizer, without padding and cutting; None where the model or its tokenizer is not known."""
    file = tokenizer_file(facts) if facts.family else None
    return _tokenizer(file, file.stat().st_mtime_ns) if file else None


@lru_cache(maxsize=4)
def _tokenizer(file: Path, mtime_ns: int) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()  # both may be stored in the file, and would make every text look 77 tokens long
    tokenizer.no_truncation()
    return tokenizer
