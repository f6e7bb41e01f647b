"""Where the folder of a diffusers model has the tensors of a network: under its own names, but for a few that have changed.

CLIPTextModel has lost its `text_model` level in transformers 5, but not in the published files, which every version reads. Older
VAEs name their attention otherwise, and Qwen3 may lie there as the language model that it is a part of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine.formats.layouts.clip import ClipKeys
from engine.formats.layouts.stored import KeyMap, Place
from engine.formats.layouts.t5 import T5

if TYPE_CHECKING:
    from engine.formats.models.base import PartKind

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class OwnKeys:
    """A `KeyMap` of names that are the network's own."""

    def places(self, keys: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        return {key: Place(key) for key in keys}

    def find(self, stored: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        return {self.own(name): Place(name) for name in stored}

    def own(self, name: str) -> str:
        return name


class _Vae(OwnKeys):
    def own(self, name: str) -> str:
        old = re.fullmatch(r"(.*\.attentions\.\d+\.)(query|key|value|proj_attn)(\.\w+)", name)
        return f"{old[1]}{_OLD_ATTENTION[old[2]]}{old[3]}" if old else name


class _Qwen3(OwnKeys):
    def own(self, name: str) -> str:
        return name.removeprefix("model.")


class _T5(OwnKeys):
    """The embedding, which has two names in the network, lies there once."""

    def places(self, keys: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        return {key: Place("shared.weight" if key == "encoder.embed_tokens.weight" else key) for key in keys}

    def find(self, stored: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        return T5.find(stored, config)


_OWN = OwnKeys()
FOLDER: dict[PartKind, KeyMap] = {
    "unet": _OWN, "sd3": _OWN, "flux": _OWN, "z_image": _OWN, "vae": _Vae(), "clip": ClipKeys(""),
    "clip_projected": ClipKeys("text_model."), "t5": _T5(), "qwen3": _Qwen3(),
}  # fmt: skip
"""Kind of network -> its names in a folder."""
