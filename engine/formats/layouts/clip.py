"""CLIP's text encoder under transformers' own names: single files have them too, nearly all with the `text_model` level."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.formats.layouts.stored import Place

LEVEL = "text_model."


@dataclass(frozen=True)
class ClipKeys:
    """A `KeyMap`.

    Attributes:
        level: what the loaded network's own paths begin with: nothing for CLIPTextModel since transformers 5, `text_model.` for
            CLIPTextModelWithProjection.
    """

    level: str

    def places(self, keys: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        return {key: Place(key if _outside(key) else LEVEL + key.removeprefix(LEVEL)) for key in keys}

    def find(self, stored: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        return {key if _outside(key) else self.level + key.removeprefix(LEVEL): Place(key) for key in stored}


def _outside(key: str) -> bool:
    """Whether a key stands beside the text model, not in it."""
    return key.startswith(("text_projection", "logit_scale"))
