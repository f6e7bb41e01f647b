"""How many tokens a prompt has, by the tokenizer of the chosen model; nothing where that cannot be read without loading the model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.generation.prompt import CHUNK, count_tokens
from engine.library import find_model, model_facts
from engine.workspace import Workspace
from webui.i18n import t
from webui.widgets.html import text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FAMILY_TOKENIZERS = Path(__file__).parents[2] / "engine" / "families" / "configs"


def tokenizer_file(model: str, workspace: Workspace) -> Path | None:
    """`tokenizer.json` of a model: in its folder, beside its file, or the one that ships for its family."""
    try:
        location = find_model(model, workspace)
        if isinstance(location, str):
            return None
        family = model_facts(location).family
    except EngineError:
        return None
    own = location if location.is_dir() else location.parent
    places = [own / "tokenizer", FAMILY_TOKENIZERS / family / "tokenizer"]
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
    file = tokenizer_file(model, workspace)
    if file is None:
        return ""
    tokenizer = _tokenizer(file, file.stat().st_mtime_ns)
    tokens, room = count_tokens(prompt, lambda words: tokenizer.encode(words, add_special_tokens=False).ids)
    key = "text.gen.tokens_long" if room > CHUNK else "text.gen.tokens"
    return text("span", t(key, language, tokens=tokens, room=room, chunks=room // CHUNK), class_="tokens")
