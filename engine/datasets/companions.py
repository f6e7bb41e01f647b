"""What belongs to a picture, told by its stem: captions beside it, its mask and its original in the dataset's own folders."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from engine.datasets.captions import CAPTION_EXTENSIONS
from engine.datasets.incoming.names import is_picture
from engine.datasets.listing import entries, stem
from engine.datasets.masks import MASKS

ORIGINALS = "_originals"


class Companions:
    """The files of a dataset by their stems. Each folder is read once, when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed: dict[str, dict[str, list[str]]] = {}

    def pictures(self, path: str) -> list[str]:
        """Pictures of a stem, such as `20_robot/a`."""
        return [name for name in self._names(path) if is_picture(name)]

    def belongings(self, path: str) -> list[str]:
        """Captions, mask and original of the pictures of a stem."""
        captions = [name for name in self._names(path) if PurePosixPath(name).suffix.lower() in CAPTION_EXTENSIONS]
        return captions + self._names(f"{MASKS}/{path}") + self.originals(path)

    def originals(self, path: str) -> list[str]:
        return self._names(f"{ORIGINALS}/{path}")

    def has_original(self, name: str) -> bool:
        """Whether the picture is one that has been altered."""
        return self.original(name) is not None

    def original(self, name: str) -> str | None:
        """What the picture was before it was altered; that of another picture which only shares the stem does not count."""
        others = self.pictures(stem_of(name))
        kept = ((original, original.removeprefix(f"{ORIGINALS}/")) for original in self.originals(stem_of(name)))
        return next((original for original, first in kept if first == name or first not in others), None)

    def _names(self, path: str) -> list[str]:
        place, _, last = path.rpartition("/")
        if place not in self._listed:
            files = self._listed.setdefault(place, {})
            for entry in entries(self.folder / place) if (self.folder / place).is_dir() else []:
                if not entry.is_dir():
                    files.setdefault(stem(entry), []).append(f"{place}/{entry.name}".lstrip("/"))
        return self._listed[place].get(last, [])


def stem_of(name: str) -> str:
    """The name without its ending, as a picture and what belongs to it share it."""
    place, slash, last = name.rpartition("/")
    return place + slash + stem(Path(last))
