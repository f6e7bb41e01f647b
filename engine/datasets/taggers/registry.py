"""The kinds of taggers, each a file beside this one. What a file needs is imported when a tagger of its kind is asked for."""

from __future__ import annotations

import importlib
from typing import cast

from engine.datasets.taggers.base import TaggerModule

MODULES = {
    "wd14": "engine.datasets.taggers.wd14",
    "blip": "engine.datasets.taggers.blip",
    "blip2": "engine.datasets.taggers.blip2",
    "florence2": "engine.datasets.taggers.florence2",
    "qwen_vl": "engine.datasets.taggers.qwen_vl",
}
"""Kind, as in `engine.config.caption` -> module."""


def tagger_module(kind: str) -> TaggerModule:
    return cast(TaggerModule, importlib.import_module(MODULES[kind]))
