"""Base models as AUTOMATIC1111's clients call them: by a title, "name.safetensors [0123456789]"."""

from __future__ import annotations

import re

from engine import library
from engine.library import ModelCard
from engine.workspace import Workspace

VAE_OF_MODEL = "Automatic"
SHORT = 10
"""Characters of a hash in a title."""
SECONDS = 2.0
"""For reading headers before a list is given; later lists have the rest."""
_HASH = re.compile(r"\s*\[[0-9a-fA-F]+\]$")


def listed(workspace: Workspace) -> list[ModelCard]:
    """The models that can be used, as far as is known."""
    return [card for card in library.models(workspace, SECONDS) if not card.problem]


def title(card: ModelCard) -> str:
    return f"{card.name} [{card.sha256[:SHORT]}]" if card.sha256 else card.name


def card_of(name: str, workspace: Workspace) -> ModelCard | None:
    """The model in the list that is called so, with its ending or without; None if it is not in the list."""
    cards = listed(workspace)
    exact = (card for card in cards if card.name == name)
    return next(exact, None) or next((card for card in cards if card.path.stem == name), None)


def checkpoint_named(written: str, workspace: Workspace) -> str:
    """The name of a model that is called by its title, name, file name without ending, hash, path or Hugging Face id.

    Raises:
        ModelError: `model.not_found`.
        PathError: a path outside the allowed folders.
    """
    name = _HASH.sub("", written.strip())
    wanted = name.lower()
    if len(wanted) >= SHORT and all(letter in "0123456789abcdef" for letter in wanted):
        name = next((card.name for card in listed(workspace) if card.sha256.startswith(wanted)), name)
    library.find_model(name, workspace)
    return name
