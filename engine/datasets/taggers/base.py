"""What every tagger is: something that is opened once and then tells of one picture after the other.

Knows no files of a dataset and writes nothing. How what is told is put into words, `tag_list` knows.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from PIL import Image

Category = Literal["general", "character", "rating"]


@dataclass(frozen=True)
class Tag:
    """A tag as the tagger's own list spells it, and how sure it is of it, 0 to 1."""

    name: str
    category: Category
    score: float


@dataclass(frozen=True)
class Told:
    """What was seen in a picture: tags or a sentence; the other is empty."""

    tags: tuple[Tag, ...] = ()
    sentence: str = ""


class Tagger(Protocol):
    """A tagger that is ready."""

    def look(self, picture: Image.Image) -> Told:
        """What is in an upright RGB picture."""
        ...


class TaggerModule(Protocol):
    """What a file of this folder offers.

    Attributes:
        SEEN_BY: names of the options that change what is told; the others change only what is written of it.
    """

    SEEN_BY: tuple[str, ...]

    def open_tagger(self, options: Any, folder: Path, device: str) -> AbstractContextManager[Tagger]:
        """A tagger, whose memory is free again when the context ends.

        Args:
            options: of its kind, see `engine.config.caption`.
            folder: where it lies.
            device: "auto" or a name such as "cpu" or "cuda:0".

        Raises:
            EngineError: `tagger.unusable`; the device or the number format is not there.
        """
        ...
