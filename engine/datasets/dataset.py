"""The words for what a dataset is: pictures in concepts, findings, and a fingerprint of the exact content.

Plain data; how it is read from a folder is `scan`'s business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.errors import DatasetError

CaptionSource = Literal["file", "folder", "trigger", "none"]


@dataclass(frozen=True)
class Picture:
    """A usable picture file.

    Attributes:
        width, height: upright, px.
        caption: what is trained on; where it came from is `caption_source`.
        caption_path: the caption file beside the picture, even if it could not be used.
    """

    path: Path
    width: int
    height: int
    caption: str
    caption_source: CaptionSource
    caption_path: Path | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


@dataclass(frozen=True)
class Concept:
    """A folder of pictures that belong together: its name, showings of each picture per epoch, and class tokens."""

    name: str
    repeats: int
    class_tokens: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Finding:
    """Something the user should know: a stable code, the file or folder, the English text and the values in it."""

    code: str
    path: Path
    text: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """What `scan` found below `folder`."""

    folder: Path
    concepts: list[Concept]
    findings: list[Finding]

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, concept by concept, each once."""
        return [picture for concept in self.concepts for picture in concept.pictures]

    @property
    def repeats(self) -> list[int]:
        """Showings per epoch, in the order of `pictures`."""
        return [concept.repeats for concept in self.concepts for _ in concept.pictures]

    @property
    def views_per_epoch(self) -> int:
        """Pictures counted with their repeats."""
        return sum(self.repeats)

    def fingerprint(self) -> str:
        """SHA-256 over name, size and content hash of every picture and caption file: equal means the same data.

        Raises:
            DatasetError: `dataset.changed` when a file has gone since the scan.
        """
        digest = hashlib.sha256()
        for path in self._files():
            try:
                name, size = path.relative_to(self.folder).as_posix(), path.stat().st_size
                digest.update(f"{name}\0{size}\0{file_hash(path)}\n".encode("utf-8", "surrogateescape"))
            except OSError as error:
                raise DatasetError(
                    "dataset.changed", f"{path.name!r} could be read a moment ago and cannot now: {error.strerror}.",
                    todo="Start again when nothing else changes the folder.", name=path.name,
                ) from error  # fmt: skip
        return digest.hexdigest()

    def _files(self) -> Iterator[Path]:
        for picture in self.pictures:
            yield picture.path
            if picture.caption_path:
                yield picture.caption_path


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
