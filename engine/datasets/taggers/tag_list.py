"""From what a tagger told to the words of a caption: thresholds, order, spelling. Pure."""

from __future__ import annotations

import re

from engine.config.caption import Section, Wd14Options
from engine.datasets.taggers.base import Category, Tag, Told

_WORD = re.compile(r"[^\W_]{2}")


def pieces(told: Told, options: Section) -> list[str]:
    """What was told, in the pieces that are written with commas between: tags, or one sentence."""
    if isinstance(options, Wd14Options):
        return tag_list(told.tags, options)
    return [told.sentence] if told.sentence else []


def tag_list(tags: tuple[Tag, ...], options: Wd14Options) -> list[str]:
    """The tags that are written, the surest first in each group; the likeliest rating, where it is wanted, last."""
    characters = _above(tags, "character", options.character_threshold)
    general = _above(tags, "general", options.general_threshold)
    ratings = _above(tags, "rating", 0)[:1] if options.rating else []
    ordered = [*characters, *general] if options.characters_first else [*general, *characters]
    unwanted = {_plain(tag) for tag in options.blacklist}
    written = [
        spaced(tag.name) if options.spaces else tag.name for tag in [*ordered, *ratings] if _plain(tag.name) not in unwanted
    ]
    return list(dict.fromkeys(written))


def _above(tags: tuple[Tag, ...], category: Category, threshold: float) -> list[Tag]:
    """Of two as sure the one that stands first in the tagger's list."""
    return sorted((tag for tag in tags if tag.category == category and tag.score >= threshold), key=lambda tag: -tag.score)


def spaced(tag: str) -> str:
    """`long_hair` as `long hair`. What has no two letters or digits side by side is an emoticon and stays: `^_^`, `o_o`, `(o)_(o)`."""
    return tag.replace("_", " ") if _WORD.search(tag) else tag


def _plain(tag: str) -> str:
    return tag.replace("_", " ").strip().casefold()
