"""A dataset as one looks at it: every picture with its size, caption and flags, read in the background and kept up to date.

Opens headers and caption files only. What was read is kept in the workspace's cache, so that the next opening reads what
changed. It looks at the folder when it is opened and when `refresh` is called, not in between.
"""

from __future__ import annotations

import gc
import hashlib
import os
import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from time import time_ns
from weakref import WeakValueDictionary

from engine.datasets.album_entry import CaptionFacts, Entry, PictureFacts, entry, read_caption_facts, read_picture
from engine.datasets.album_files import Files, in_order, is_excluded, list_files
from engine.datasets.album_index import keep_index, load_index
from engine.datasets.album_query import Query, find
from engine.datasets.buckets import Size
from engine.workspace import Workspace

__all__ = ["Album", "Entry", "Query", "open_album"]
HELD = 4
"""Albums that stay in memory when nobody holds them."""
BATCH = 32
"""Pictures read between two looks at who else wants something."""
QUIET_SECONDS = 2.0
"""Without a change, before what was read is written to the disk."""

_opening = threading.Lock()
_albums: WeakValueDictionary[tuple[str, str], Album] = WeakValueDictionary()
_held: deque[Album] = deque(maxlen=HELD)


def open_album(folder: Path, workspace: Workspace, again: bool = False) -> Album:
    """The album of a dataset's folder, the same object for all who ask in this process.

    Args:
        again: look at the folder also when the album is there already. A new one always does.

    Raises:
        DatasetError: `dataset.not_a_folder`, `dataset.unreadable_folder`.
    """
    place = os.path.realpath(folder)
    key = place, str(workspace.cache)
    with _opening:
        album = known = _albums.get(key)
        if album is None:
            name = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:32]
            album = _albums[key] = Album(Path(place), workspace.cache / "albums" / f"{name}.json")
        if album in _held:
            _held.remove(album)
        _held.append(album)
    if known and again:
        known.refresh()
    return album


class Album:
    """All methods may be called from several threads.

    Attributes:
        folder: the dataset.
    """

    def __init__(self, folder: Path, kept: Path) -> None:
        self.folder = folder
        with _no_garbage():
            self._kept, self._index = kept, load_index(kept)
        self._changed = threading.Condition()
        self._looking = threading.Lock()
        self._files: dict[str, Files] = {}
        self._entries: dict[str, Entry] = {}
        self._waiting: dict[str, None] = {}
        self._being_read: dict[str, object] = {}
        self._shown: dict[str, Entry] | None = None
        self._reader: threading.Thread | None = None
        self._unkept = False
        self.refresh()

    @property
    def total(self) -> int:
        """Pictures, without those taken out."""
        return sum(not is_excluded(name) for name in self._files)

    @property
    def indexed(self) -> int:
        """Those of them that are in `entries`."""
        return sum(not each.excluded for each in self.entries.values())

    @property
    def whole(self) -> bool:
        """Everything that the last look at the folder found has been read."""
        with self._changed:
            return self._is_read()

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The pictures that have been read, by name, in natural order; not to be changed."""
        with self._changed:
            if self._shown is None:
                self._shown = {name: self._entries[name] for name in self._files if name in self._entries}
            return self._shown

    @property
    def sizes(self) -> dict[str, Size]:
        """Upright width and height in px of the pictures that can be read and are not taken out."""
        return {name: (each.width, each.height) for name, each in self.entries.items() if each.width and not each.excluded}

    def find(self, query: Query, buckets: Mapping[str, Size] | None = None) -> list[str]:
        """Names of the pictures that pass, of those read so far. `buckets` (name -> bucket) is needed for `query.bucket`."""
        return find(self.entries, query, buckets)

    def refresh(self, names: Collection[str] | None = None) -> None:
        """Look at the folder again. What changed is read in the background, but what changed of `names` before this returns.

        Raises:
            DatasetError: `dataset.not_a_folder`, `dataset.unreadable_folder`.
        """
        with self._looking, _no_garbage():
            found = list_files(self.folder, names)
            with self._changed:
                self._take_over(found, names)
        if names is not None:
            self._read(list(found))
            with self._changed:  # others may have begun with some
                self._changed.wait_for(lambda: found.keys().isdisjoint(self._waiting.keys() | self._being_read.keys()))
        self._read_on()

    def read(self, seconds: float | None = None) -> bool:
        """Wait until everything has been read, for so long at most; returns `whole`."""
        self._read_on()
        with self._changed:
            whole = self._changed.wait_for(self._is_read, seconds)
        if whole:
            self._keep()
        return whole

    def _is_read(self) -> bool:
        return not (self._waiting or self._being_read)

    def _take_over(self, found: dict[str, Files], names: Collection[str] | None) -> None:
        """What a look at the folder found becomes what there is."""
        before = self._files
        looked_at = before.keys() if names is None else found.keys() | set(names)
        files = {name: each for name, each in before.items() if name not in looked_at} | found
        order = before if files.keys() == before.keys() else in_order(files)
        self._files = {name: files[name] for name in order}
        for name in (self._entries.keys() | self._waiting.keys()) - files.keys():
            self._entries.pop(name, None)
            self._waiting.pop(name, None)
        for name in order if names is None else found:
            picture, caption = self._index.picture(name, files[name]), self._index.caption(files[name])
            if not (picture and caption):
                self._waiting[name] = None
            elif name not in self._entries or files[name] != before.get(name):
                self._entries[name] = entry(name, files[name], picture, caption)
        self._shown = None
        self._changed.notify_all()

    def _read(self, names: Collection[str]) -> None:
        """Read those of the pictures that are still to be read."""
        mark = object()  # tells this reading from a later one of the same file
        with self._changed:
            files = {name: self._files[name] for name in names if name in self._waiting}
            for name in files:
                del self._waiting[name]
                self._being_read[name] = mark
        facts = {}
        try:
            for name, each in files.items():
                facts[name] = time_ns(), *self._facts(name, each)
        finally:
            with self._changed:
                for name in [name for name in files if self._being_read.get(name) is mark]:
                    del self._being_read[name]
                    if name in facts and name in self._files:
                        began, picture, caption = facts[name]
                        self._index.learn(name, files[name], picture, caption, began)
                        self._entries[name] = entry(name, files[name], picture, caption)
                self._shown, self._unkept = None, True
                self._changed.notify_all()

    def _facts(self, name: str, files: Files) -> tuple[PictureFacts, CaptionFacts]:
        picture = self._index.picture(name, files) or read_picture(self.folder / name)
        return picture, self._index.caption(files) or read_caption_facts(self.folder / files.caption_file)

    def _read_on(self) -> None:
        """See that a thread reads what is left and keeps it."""
        with self._changed:
            if self._reader is None and (self._waiting or self._unkept):
                self._reader = threading.Thread(target=self._read_behind, name="album", daemon=True)
                self._reader.start()

    def _read_behind(self) -> None:
        """Read, those that come first first, until nothing has been left for a while."""
        try:
            while True:
                with self._changed:
                    if not self._changed.wait_for(lambda: bool(self._waiting), QUIET_SECONDS):
                        break
                    names = list(islice(self._waiting, BATCH))
                self._read(names)
        finally:
            with self._changed:
                self._reader = None
        self._keep()

    def _keep(self) -> None:
        with self._changed:
            if not self._unkept:
                return
            self._unkept, index = False, self._index.keep_only(self._files)
        keep_index(self._kept, index)


@contextmanager
def _no_garbage() -> Iterator[None]:
    """For making tens of thousands of objects that stay: to look among them for garbage would take as long again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
