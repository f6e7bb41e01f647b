"""Which pictures of an album are asked for: filters, search words and order."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from engine.datasets.album_entry import Entry
from engine.datasets.buckets import Size

Sort = Literal["name", "newest", "caption length", "size"]
SORTS: dict[Sort, Callable[[Entry], int]] = {
    "name": lambda entry: 0,
    "newest": lambda entry: -entry.stamp,
    "caption length": lambda entry: len(entry.caption),
    "size": lambda entry: entry.width * entry.height,
}
"""What grows down the list; equals stay in natural order."""


@dataclass(frozen=True)
class Query:
    """Filters, all of which a picture must pass.

    Attributes:
        text: words that all occur in the caption or the file name, in any case.
        tags, without: tags of the caption, between commas, that it has and lacks.
        concept: folder name; "" is the dataset's own pictures, None all.
        bucket: such as "512x768".
        uncaptioned: only those without a caption that can be read.
        excluded: those taken out, instead of the others.
        names: only these.
        sort: "newest" by the picture's file, "caption length" and "size" (in pixels) the least first.
    """

    text: str = ""
    tags: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    concept: str | None = None
    bucket: str | None = None
    uncaptioned: bool = False
    excluded: bool = False
    names: Collection[str] | None = None
    sort: Sort = "name"


def find(entries: Mapping[str, Entry], query: Query, buckets: Mapping[str, Size] | None = None) -> list[str]:
    """Names of the pictures that pass, in the order asked for.

    Args:
        entries: in natural order.
        buckets: name -> bucket, for `query.bucket`; a picture that is not there is in none.
    """
    names = None if query.names is None else set(query.names)
    words, tags, without = _folded(query.text).split(), _tags(query.tags), _tags(query.without)

    def passes(name: str, entry: Entry) -> bool:
        if entry.excluded != query.excluded or (names is not None and name not in names):
            return False
        if (query.concept is not None and entry.concept != query.concept) or (query.uncaptioned and entry.caption):
            return False
        if query.bucket and _bucket(name, buckets or {}) != query.bucket:
            return False
        caption = entry.caption.casefold()
        if words and not _has_all(words, caption, name):
            return False
        return not (tags or without) or _fits(_tags(caption.split(",")), tags, without)

    found = [entry for name, entry in entries.items() if passes(name, entry)]
    if query.sort != "name":
        found.sort(key=SORTS[query.sort])
    return [entry.name for entry in found]


def _has_all(words: list[str], caption: str, name: str) -> bool:
    missing = [word for word in words if word not in caption]
    file = _folded(name.rpartition("/")[2]) if missing else ""
    return all(word in file for word in missing)


def _fits(own: set[str], tags: set[str], without: set[str]) -> bool:
    return tags <= own and own.isdisjoint(without)


def _tags(tags: Collection[str]) -> set[str]:
    return {_folded(tag).strip() for tag in tags} - {""}


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _bucket(name: str, buckets: Mapping[str, Size]) -> str | None:
    return "{}x{}".format(*buckets[name]) if name in buckets else None
