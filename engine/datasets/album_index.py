"""What was read of a dataset's files, kept from one opening to the next as long as a file's name, size and time stay the same.

Losing it loses nothing but time, so a damaged file, or one of another version, is as good as none.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import PIL

from engine.datasets.album_entry import NO_CAPTION, CaptionFacts, PictureFacts
from engine.datasets.album_files import Files, Stamp
from engine.datasets.decode import supported_extensions
from engine.workspace import atomic_write

VERSION = 1
"""Of the file and of what is read. What Pillow could read counts too."""
UNSETTLED: Stamp = (-1, -1)
SETTLED_NS = 2_000_000_000
"""A file written so recently can change again without a new time: on some disks time goes in steps of two seconds."""


@dataclass
class Index:
    """Facts by the name of the file they were read from, with its stamp then."""

    pictures: dict[str, tuple[Stamp, PictureFacts]] = field(default_factory=dict)
    captions: dict[str, tuple[Stamp, CaptionFacts]] = field(default_factory=dict)

    def picture(self, name: str, files: Files) -> PictureFacts | None:
        """What is known of the picture as it is now."""
        seen, facts = self.pictures.get(name, (UNSETTLED, None))
        return facts if seen == files.picture else None

    def caption(self, files: Files) -> CaptionFacts | None:
        """What is known of the caption file as it is now."""
        if not files.caption_file:
            return NO_CAPTION
        seen, facts = self.captions.get(files.caption_file, (UNSETTLED, None))
        return facts if seen == files.caption else None

    def learn(self, name: str, files: Files, picture: PictureFacts, caption: CaptionFacts, read_ns: int) -> None:
        """Remember what was read at this time (ns since 1970) of files whose stamps had been looked at before."""
        self.pictures[name] = _settled(files.picture, read_ns), picture
        if files.caption_file:
            self.captions[files.caption_file] = _settled(files.caption, read_ns), caption

    def keep_only(self, listed: dict[str, Files]) -> Index:
        """A copy without what has gone."""
        captions = {files.caption_file for files in listed.values()}
        return Index(_only(self.pictures, listed.keys()), _only(self.captions, captions))


def load_index(file: Path) -> Index:
    """The index kept there; an empty one where there is none that can be used."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        check, _, body = file.read_bytes().partition(b"\n")
        if int(check, 16) == zlib.crc32(body) and (kept := json.loads(body))["reader"] == _reader():
            return Index(
                {name: ((size, time), PictureFacts(*facts)) for name, size, time, *facts in kept["pictures"]},
                {name: ((size, time), CaptionFacts(*facts)) for name, size, time, *facts in kept["captions"]},
            )
    return Index()


def keep_index(file: Path, index: Index) -> None:
    """Write the index. A disk that takes none keeps none."""
    pictures = [[name, *stamp, *facts] for name, (stamp, facts) in index.pictures.items()]
    captions = [[name, *stamp, *facts] for name, (stamp, facts) in index.captions.items()]
    body = json.dumps({"reader": _reader(), "pictures": pictures, "captions": captions}, separators=(",", ":")).encode()
    with suppress(OSError), atomic_write(file) as stream:
        stream.write(b"%08x\n" % zlib.crc32(body))
        stream.write(body)


def _settled(stamp: Stamp, read_ns: int) -> Stamp:
    """The stamp of a file that was read at this time, or one that no file has where it may change unseen."""
    return UNSETTLED if abs(read_ns - stamp[1]) < SETTLED_NS else stamp


def _only(facts: dict, names: Collection[str]) -> dict:
    return {name: each for name, each in facts.items() if name in names}


def _reader() -> str:
    return f"{VERSION} {PIL.__version__} {' '.join(supported_extensions())}"
