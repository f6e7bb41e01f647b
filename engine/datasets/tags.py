"""The tags of a dataset: how many pictures carry each, and which of them describe the very thing that is to be learnt.

Text only. A tag is what stands between the commas of a caption, as in Kohya's trainer; the words that give a concept away
stand in `tag_words`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from engine.config.train import Kind
from engine.datasets.captions import has_word
from engine.datasets.tag_words import Reason, reason_of

SHARE = 0.5
"""A trait belongs to the concept when more than this share of its pictures has it."""


@dataclass(frozen=True)
class TagCount:
    """A tag as most often written, pictures that carry it, and those of them whose caption has the trigger word too."""

    tag: str
    count: int
    with_trigger: int


@dataclass(frozen=True)
class Suggestion:
    """A tag that is better left out, the share of the concept's pictures that carry it (fraction 0-1), and why."""

    tag: str
    share: float
    reason: Reason


def split_tags(caption: str) -> list[str]:
    """The tags of a caption, in order, without blanks around them and without empty ones."""
    return [tag for part in caption.split(",") if (tag := part.strip())]


def tag_table(captions: Iterable[str], trigger: str = "") -> list[TagCount]:
    """Every tag, the most frequent first; case does not tell tags apart, and a picture counts once."""
    pictures: Counter[str] = Counter()
    together: Counter[str] = Counter()
    written: Counter[str] = Counter()
    trigger = trigger.strip()
    for caption in captions:
        tags = split_tags(caption)
        written.update(tags)
        keys = dict.fromkeys(map(str.lower, tags))  # in order, so that equals are listed alike each time
        pictures.update(keys.keys())
        if trigger and has_word(caption, trigger):
            together.update(keys.keys())
    shown: dict[str, str] = {}
    for tag, _ in written.most_common():
        shown.setdefault(tag.lower(), tag)
    return [TagCount(shown[key], count, together[key]) for key, count in pictures.most_common()]


def prune_suggestions(captions: Iterable[str], trigger: str, kind: Kind) -> list[Suggestion]:
    """Tags that describe the concept itself. Left out of the captions, what they say is learnt by the trigger word.

    For a character, an outfit and a pose these are its own traits that most of its pictures show: what a caption names is
    learnt apart from the trigger word, and would have to be typed each time. For a style it is every word that names the
    style, in however few captions.

    Args:
        trigger: the pictures whose captions have it are looked at; all, when it is empty or none has it.

    Returns:
        The most frequent first.
    """
    captions = list(captions)
    trigger = trigger.strip()
    own = [caption for caption in captions if trigger and has_word(caption, trigger)] or captions
    found = []
    for row in tag_table(own):
        share, reason = row.count / len(own), reason_of(row.tag, kind)
        names_concept = kind == "style" or share > SHARE
        if reason and names_concept and not (trigger and has_word(row.tag, trigger)):
            found.append(Suggestion(row.tag, share, reason))
    return found
