"""Captions that stand together in one file: Kohya's metadata JSON, and the `metadata.jsonl` of an imagefolder.

    {"a": {"caption": "a robot", "tags": "blue, metal"}, "D:/set/b.png": {"tags": "red"}}
    {"file_name": "a.png", "text": "a robot"}

Knows keys and texts only. Which picture a key means is told by the ends of both paths, since datasets move.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from engine.datasets.listing import entries
from engine.errors import DatasetError

MAX_METADATA_BYTES = 2**26
CACHE = "metadata_cache.json"
"""Kohya's copy of caption files as they once were."""


def metadata_files(folders: Iterable[Path]) -> list[Path]:
    """`metadata.jsonl` and `meta*.json` of these folders, each folder's in natural order. Kohya's tools write `meta_cap`,
    `meta_clean` and `meta_lat` one after the other: where two files have a caption of one picture, the later one counts."""
    return [file for folder in dict.fromkeys(folders) for file in entries(folder, _is_metadata)]


def _is_metadata(file: os.DirEntry[str]) -> bool:
    name = file.name.casefold()
    return re.fullmatch(r"metadata\.jsonl|meta.*\.json", name) is not None and name != CACHE


def metadata_captions(file: Path, names: Iterable[str]) -> dict[str, str]:
    """Name of a picture -> its caption, for those that the file has a caption of.

    Args:
        names: relative to the file's folder, with `/`.

    Raises:
        DatasetError: `caption.metadata`, with the line or the key.
    """
    captions = _read(file)
    ends: dict[str, set[str]] = {}
    for key, caption in captions.items():
        for end in _ends(key):
            ends.setdefault(end, set()).add(caption)
    return {name: caption for name in names if (caption := _find(unicodedata.normalize("NFC", name), captions, ends))}


def _find(name: str, captions: dict[str, str], ends: dict[str, set[str]]) -> str:
    """The caption whose key is the picture's path, ends in it, or is an end of it; with the picture's ending or without.

    Where keys that end in it say different things, none is its caption.
    """
    forms = (name, str(PurePosixPath(name).with_suffix("")))
    for form in forms:
        if form in captions:
            return captions[form]
        if len(ends.get(form, ())) == 1:
            return next(iter(ends[form]))
    return next((captions[end] for form in forms for end in _ends(form) if end in captions), "")


def _ends(path: str) -> Iterator[str]:
    """`a/b/c`, `b/c` and `c`."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _read(file: Path) -> dict[str, str]:
    """Key, with `/` and NFC, -> caption."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_METADATA_BYTES + 1)
        if len(data) > MAX_METADATA_BYTES:
            raise ValueError(f"it is larger than {MAX_METADATA_BYTES} bytes")
        text = data.decode("utf-8-sig")
        pairs = list(_lines(text) if file.suffix.lower() == ".jsonl" else _kohya(text))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(
            "caption.metadata", f"The captions in {file.name!r} cannot be read: {reason}.",
            "Kohya's metadata JSON, or a metadata.jsonl with file_name and text.", "Correct the file or rename it.",
            file=file.name, reason=reason,
        ) from error  # fmt: skip
    return {unicodedata.normalize("NFC", key.replace("\\", "/").removeprefix("./")): caption for key, caption in pairs if caption}


def _kohya(text: str) -> Iterator[tuple[str, str]]:
    """Tags follow the caption, as Kohya's trainer joins them."""
    for key, value in _mapping(json.loads(text), "it").items():
        facts = _mapping(value, repr(key))
        yield key, ", ".join(part for name in ("caption", "tags") if (part := _text(facts.get(name), f"{key!r}: {name}")))


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                facts = _mapping(json.loads(line), "it")
                key = _text(facts.get("file_name"), "file_name")
                caption = _text(facts.get("text"), "text") or _text(facts.get("caption"), "caption")
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            yield key, caption


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a JSON object")
    return value


def _text(value: Any, name: str) -> str:
    """The first line, as of a caption file; "" for nothing."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    line = next(iter((value or "").strip().splitlines()), "").strip()
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in line if letter != "\t"):
        raise ValueError(f"{name} contains control characters")
    return unicodedata.normalize("NFC", line)
