"""How many tokens a prompt has, by the tokenizer of the chosen model; nothing where that cannot be read without loading the model."""

from __future__ import annotations

from engine.generation.prompt import CHUNK, count_tokens
from engine.token_counter import model_tokenizer
from engine.workspace import Workspace
from webui.i18n import t
from webui.widgets.chosen_model import chosen_model
from webui.widgets.html import text


def count_html(prompt: str, model: str, workspace: Workspace, language: str) -> str:
    """The count as a line under the prompt."""
    facts = chosen_model(model, workspace)
    tokenizer = model_tokenizer(facts) if facts else None
    if facts is None or tokenizer is None:
        return ""
    tokens, room = count_tokens(prompt, lambda words: tokenizer.encode(words, add_special_tokens=False).ids)
    if limit := facts.habits.text_length:
        key = "text.gen.tokens" if tokens < limit else "text.gen.tokens_cut"
        return text("span", t(key, language, tokens=tokens, room=limit), class_="tokens")
    key = "text.gen.tokens_long" if room > CHUNK else "text.gen.tokens"
    return text("span", t(key, language, tokens=tokens, room=room, chunks=room // CHUNK), class_="tokens")
