"""How many tokens a prompt has, by the tokenizer of the chosen model; nothing where that cannot be read without loading the model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.formats.models import MODELS
from engine.formats.tokenizer_files import TOKENIZER_KINDS
from engine.generation.prompt import CHUNK, count_tokens
from engine.model_facts import ModelFacts
from engine.workspace import Workspace
from webui.i18n import t
from webui.widgets.chosen_model import chosen_model
from webui.widgets.html import text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHIPPED = Path(__file__).parents[2] / "engine" / "families" / "tokenizers"


def reader(facts: ModelFacts) -> str:
    """The text encoder that reads the whole prompt; where several do, the first."""
    encoders = MODELS[facts.family].text_encoders
    return encoders[-1 if facts.habits.text_length else 0]


def tokenizer_file(facts: ModelFacts) -> Path | None:
    """`tokenizer.json` of a model: in its folder, beside its file, or the one that ships."""
    model, encoder, location = MODELS[facts.family], reader(facts), Path(facts.location)
    kind = TOKENIZER_KINDS[model.parts[encoder].kind].name
    own = location if location.is_dir() else location.parent
    places = [own / model.tokenizers[encoder], own / "tokenizers" / kind, SHIPPED / kind]
    return next((place / "tokenizer.json" for place in places if (place / "tokenizer.json").is_file()), None)


@lru_cache(maxsize=4)
def _tokenizer(file: Path, mtime_ns: int) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()  # both may be stored in the file, and would make every prompt look 77 tokens long
    tokenizer.no_truncation()
    return tokenizer


def count_html(prompt: str, model: str, workspace: Workspace, language: str) -> str:
    """The count as a line under the prompt."""
    facts = chosen_model(model, workspace)
    file = tokenizer_file(facts) if facts else None
    if facts is None or file is None:
        return ""
    tokenizer = _tokenizer(file, file.stat().st_mtime_ns)
    tokens, room = count_tokens(prompt, lambda words: tokenizer.encode(words, add_special_tokens=False).ids)
    if limit := facts.habits.text_length:
        key = "text.gen.tokens" if tokens < limit else "text.gen.tokens_cut"
        return text("span", t(key, language, tokens=tokens, room=limit), class_="tokens")
    key = "text.gen.tokens_long" if room > CHUNK else "text.gen.tokens"
    return text("span", t(key, language, tokens=tokens, room=room, chunks=room // CHUNK), class_="tokens")
