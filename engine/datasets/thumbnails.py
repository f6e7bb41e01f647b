"""Small copies of pictures for the grid, made once for each content and kept in the workspace's cache.

Upright, sRGB, WebP; of an animation the first frame. The pictures themselves are never touched.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from PIL import Image

from engine.datasets.decode import Colour, decode_picture, picture_size, read_bytes, unreadable
from engine.errors import DatasetError
from engine.workspace import Workspace, atomic_write, stamp

SIDE = 256
"""Longest side, px; smaller pictures keep their size."""
GROUND: Colour = (128, 128, 128)
"""Under what is transparent: neither a dark nor a light drawing disappears on it."""
QUALITY, EFFORT = 80, 2
"""Of WebP: 0 to 100, and 0 (fast) to 6 (small)."""
PROCESSES, NICE = 2, 10
AT_ONCE, LARGE = 2, 16_000_000
"""Pictures decoded at a time in one process, and pixels from which one is decoded alone: it takes hundreds of MiB."""
PATIENCE = 0.5
"""Seconds between two calls of `on_progress` at most, and for a helper to end by itself."""

_decoding, _decoding_large = threading.BoundedSemaphore(AT_ONCE), threading.Lock()


def thumbnail(path: Path, workspace: Workspace) -> Path:
    """The thumbnail of a picture, made when there is none yet.

    Raises:
        DatasetError: `picture.unreadable`, `picture.too_large`.
    """
    return _thumbnail(path, workspace.cache)


def make_thumbnails(
    paths: Sequence[Path], workspace: Workspace, on_progress: Callable[[int, int], None]
) -> dict[Path, DatasetError]:
    """Make all that are missing, in processes of low priority; returns the pictures that cannot be read.

    Args:
        on_progress: called with those done and all; what it raises ends the work.
    """
    missing = [path for path in paths if not _place(path, workspace.cache).exists()]
    rest, working, done = iter(missing), {}, len(paths) - len(missing)
    problems: dict[Path, DatasetError] = {}
    with _helpers(workspace.cache) as new_helper:
        helpers = [new_helper() for _ in missing[:PROCESSES]]
        while True:
            for helper, path in zip(helpers, rest, strict=False):
                helper.send(path)
                working[helper] = path
            on_progress(done, len(paths))
            if not working:
                return problems
            helpers = []
            for helper in wait(list(working), PATIENCE):
                path = working.pop(helper)
                try:
                    problem = helper.recv()
                except EOFError:  # a broken picture has taken the decoder's process with it
                    problem, helper = unreadable(path.name, "the decoder crashed").to_dict(), new_helper()
                if isinstance(problem, OSError):
                    raise problem
                if problem:
                    problems[path] = DatasetError.from_dict(problem)
                helpers.append(helper)
                done += 1


def _thumbnail(path: Path, cache: Path) -> Path:
    place = _place(path, cache)
    if not place.exists():
        width, height = picture_size(path)
        with _decoding_large if width * height >= LARGE else nullcontext(), _decoding:
            image = decode_picture(read_bytes(path), path.name, GROUND, enough=SIDE)
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=None)
        with atomic_write(place) as stream:
            image.save(stream, format="WEBP", quality=QUALITY, method=EFFORT)
        for other in place.parent.glob(f"{place.name.partition('-')[0]}-*"):
            if other != place:
                other.unlink(missing_ok=True)
    return place


def _place(path: Path, cache: Path) -> Path:
    """Where the thumbnail of a picture as it is now lies, or will lie."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()
    content = hashlib.sha256(repr(stamp(path)).encode()).hexdigest()
    return cache / "thumbnails" / name[:2] / f"{name[2:32]}-{content[:16]}.webp"


@contextmanager
def _helpers(cache: Path) -> Iterator[Callable[[], Connection]]:
    """What starts a process that makes thumbnails and gives the connection to it. In the end all are stopped."""
    spawn = get_context("spawn")
    started: list[tuple[Connection, BaseProcess]] = []

    def start() -> Connection:
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_help, args=(theirs, cache), daemon=True)
        process.start()
        theirs.close()  # so that it is closed when the process ends
        started.append((ours, process))
        return ours

    try:
        yield start
    finally:
        for connection, _ in started:
            connection.close()
        for _, process in started:
            process.join(PATIENCE)
            process.terminate()
            process.join()


def _help(connection: Connection, cache: Path) -> None:
    """Make the thumbnails one is told to, until the connection is closed: also when the other side was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side decides
    if hasattr(os, "nice"):
        os.nice(NICE)
    with suppress(EOFError, ConnectionError):
        while True:
            path = connection.recv()
            try:
                _thumbnail(path, cache)
            except DatasetError as error:
                connection.send(error.to_dict())
            except OSError as error:
                connection.send(error)
            else:
                connection.send(None)
