"""What was seen in pictures, kept on disk: a picture is looked at once by the same tagger with the same options, whatever happens between.

The name of an entry is the hash of everything it depends on, so that a changed picture or tagger has another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.datasets.taggers.base import Tag, Told
from engine.workspace import atomic_write

PREPARATION = 1
"""Raise when a picture is prepared otherwise than before, so that it is looked at again."""


class Memory:
    """Args:
    tagger: see `engine.datasets.taggers.place.identity`.
    options: those that change what is told.
    """

    def __init__(self, folder: Path, tagger: str, options: Mapping[str, Any]) -> None:
        self.folder, self._about = folder, json.dumps([PREPARATION, tagger, dict(options)], sort_keys=True)

    def path(self, picture: bytes) -> Path:
        """Where what is told of a picture, the bytes of its file, lies or will."""
        key = hashlib.sha256(self._about.encode() + b"\0" + hashlib.sha256(picture).digest()).hexdigest()
        return self.folder / key[:2] / f"{key}.json"

    def get(self, picture: bytes) -> Told | None:
        """What was told; None when nothing was, or its file is damaged."""
        try:
            told = json.loads(self.path(picture).read_text(encoding="utf-8"))
            return Told(tuple(Tag(**tag) for tag in told["tags"]), told["sentence"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, picture: bytes, told: Told) -> None:
        with atomic_write(self.path(picture), "w") as stream:
            json.dump(asdict(told), stream, ensure_ascii=False)
