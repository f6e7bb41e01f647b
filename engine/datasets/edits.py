"""Editing captions: pure functions from a caption and an edit to the new caption.

Knows text only; what changes is saved by `caption_files`. A caption that an edit does not concern comes back letter for
letter, and sentences stay whole: what moves, drops or sorts tags takes them as one tag.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from engine.config.edits import (
    AddOptions,
    DeduplicateOptions,
    Edit,
    RemoveOptions,
    ReplaceOptions,
    SetOptions,
    ShuffleOptions,
    SortOptions,
    SpacesOptions,
    TriggerOptions,
)
from engine.datasets.caption_files import one_line
from engine.datasets.captions import has_word
from engine.datasets.expression import substitute
from engine.datasets.listing import natural_key
from engine.datasets.tags import split_tags

FACES = frozenset((
    "0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o", "@_@", "^_^", "o_o", "u_u",
    "x_x", "|_|", "||_||", "t_t", ";_;", "-_-", "n_n", "o_-", "-_o",
))  # fmt: skip
"""Tags in which an underscore is a mouth."""
TagEdit = Callable[[list[str], Any], list[str]]
"""From the tags of a caption, and the options, to the new tags."""
_SENTENCE_END = re.compile(r"\w[.!?][\"')]*(?:\s+[A-Z]|$)|。")
_HIRAGANA = re.compile("[ぁ-ん]")


def edited(caption: str, edit: Edit, frequency: Mapping[str, int] | None = None) -> str:
    """A caption after an edit. See `edited_all`, which is the one to call for many."""
    return edited_all([caption], edit, frequency)[0]


def edited_all(captions: Sequence[str], edit: Edit, frequency: Mapping[str, int] | None = None) -> list[str]:
    """Captions after an edit, in their order.

    Args:
        frequency: tag in lower case -> pictures that have it, for sorting; None counts in `captions`.

    Raises:
        DatasetError: `edit.bad_expression`, `edit.slow_expression`.
    """
    if isinstance(edit, ReplaceOptions):
        after = _replaced(captions, edit)
    elif isinstance(edit, SetOptions):
        after = [edit.caption] * len(captions)
    elif isinstance(edit, SpacesOptions):
        after = [_spaced(caption, edit.keep) for caption in captions]
    else:
        change = _sorted_by(edit, captions, frequency) if isinstance(edit, SortOptions) else TAG_EDITS[edit.kind]
        after = [_retagged(caption, change, edit) for caption in captions]
    return [before if new == before else one_line(new) for before, new in zip(captions, after, strict=True)]


def preview(captions: Mapping[str, str], names: Iterable[str], edit: Edit) -> dict[str, str]:
    """Name -> new caption of each of the pictures `names` whose caption changes. Raises as `edited_all` does.

    Args:
        captions: name -> caption of the whole dataset, in which tags are counted.
    """
    names = list(names)
    frequency = _frequency(captions.values()) if isinstance(edit, SortOptions) and edit.order == "frequency" else None
    after = edited_all([captions[name] for name in names], edit, frequency)
    return {name: new for name, new in zip(names, after, strict=True) if new != captions[name]}


def parts(caption: str) -> list[str]:
    """The tags of a caption; sentences, with all their commas, are one."""
    if not _SENTENCE_END.search(caption):
        return split_tags(caption)
    raw = caption.split(",")
    start = next((index for index, part in enumerate(raw) if _begins_sentence(part.strip())), len(raw) - 1)
    return [*split_tags(",".join(raw[:start])), ",".join(raw[start:]).strip()]


def _begins_sentence(part: str) -> bool:
    return len(part.split()) > 2 or (" " in part and part[0].isupper()) or bool(_HIRAGANA.search(part))


def _retagged(caption: str, change: TagEdit, edit: Edit) -> str:
    before = parts(caption)
    after = change(before, edit)
    return caption if after == before else ", ".join(after)


def _added(tags: list[str], edit: AddOptions) -> list[str]:
    there = {tag.casefold() for tag in tags}
    new = [tag for tag in _without_repeats(split_tags(edit.tags)) if tag.casefold() not in there]
    place = edit.keep if edit.position == "front" else len(tags)
    return [*tags[:place], *new, *tags[place:]]


def _removed(tags: list[str], edit: RemoveOptions) -> list[str]:
    unwanted = {tag.casefold() for tag in split_tags(edit.tags)}
    return [tag for tag in tags if tag.casefold() not in unwanted]


def _triggered(tags: list[str], edit: TriggerOptions) -> list[str]:
    first = split_tags(edit.trigger)
    text, trigger = ", ".join(tags), ", ".join(first)
    if has_word(text[: len(trigger) + 1], trigger):  # it may begin a sentence
        return tags
    return [*first, *_removed(tags, RemoveOptions(tags=edit.trigger))]


def _deduplicated(tags: list[str], edit: DeduplicateOptions) -> list[str]:
    return _without_repeats(tags)


def _shuffled(tags: list[str], edit: ShuffleOptions) -> list[str]:
    moved = tags[edit.keep :]
    random.Random(f"{edit.seed} {', '.join(tags)}").shuffle(moved)  # another order for each caption, the same each time
    return [*tags[: edit.keep], *moved]


TAG_EDITS: dict[str, TagEdit] = {
    "add": _added, "remove": _removed, "trigger": _triggered, "deduplicate": _deduplicated, "shuffle": _shuffled
}  # fmt: skip
"""Kind -> the tags after the edit."""


def _sorted_by(edit: SortOptions, captions: Sequence[str], frequency: Mapping[str, int] | None) -> TagEdit:
    counts = frequency if frequency is not None else _frequency(captions if edit.order == "frequency" else ())
    key = cache(natural_key) if edit.order == "alphabetical" else lambda tag: -counts.get(tag.lower(), 0)
    return lambda tags, edit: [*tags[: edit.keep], *sorted(tags[edit.keep :], key=key)]


def _frequency(captions: Iterable[str]) -> Counter[str]:
    """Tag in lower case -> captions that have it."""
    return Counter(tag for caption in captions for tag in {tag.lower() for tag in parts(caption)})


def _without_repeats(tags: list[str]) -> list[str]:
    first: dict[str, str] = {}
    for tag in tags:
        first.setdefault(tag.casefold(), tag)
    return list(first.values())


def _spaced(caption: str, keep: int) -> str:
    """Underscores as spaces, but for the first `keep` tags and for faces."""
    raw = caption.split(",")
    words = [re.sub(r"\S+", _without_underscores, part) for part in raw[keep:]]
    return ",".join([*raw[:keep], *words])


def _without_underscores(word: re.Match[str]) -> str:
    return word[0] if word[0].lower() in FACES else word[0].replace("_", " ")


def _replaced(captions: Sequence[str], edit: ReplaceOptions) -> list[str]:
    if edit.whole_tag:
        tags = list(dict.fromkeys(tag for caption in captions for tag in parts(caption)))
        new = dict(zip(tags, _substituted(tags, edit), strict=True))
        return [_retagged(caption, lambda tags, _: [new[tag] for tag in tags if new[tag].strip()], edit) for caption in captions]
    distinct = list(dict.fromkeys(captions))
    new = dict(zip(distinct, _substituted(distinct, edit), strict=True))
    return [caption if new[caption] == caption else _tidied(new[caption]) for caption in captions]


def _substituted(texts: Sequence[str], edit: ReplaceOptions) -> list[str]:
    if edit.regex:
        return substitute(texts, edit.find, edit.replacement, edit.case, edit.whole_tag)
    pattern = re.compile(re.escape(edit.find), 0 if edit.case else re.IGNORECASE)
    if edit.whole_tag:
        return [edit.replacement if pattern.fullmatch(text) else text for text in texts]
    return [pattern.sub(lambda _: edit.replacement, text) for text in texts]


def _tidied(caption: str) -> str:
    """Without the empty tags and doubled blanks that are left where something was taken out."""
    raw = caption.split(",")
    return ", ".join(split_tags(caption)) if any(not part.strip() or part.startswith("  ") for part in raw) else caption
