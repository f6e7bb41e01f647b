"""One holder at a time, across processes: a lock the system frees when its holder dies.

The file says who holds it (`pid`, `url`, ...) and can be read by everyone. It is never deleted: two processes could then
lock two files of the same name. Standard library only, since `launch.py` uses it before anything is installed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

if os.name == "nt":
    import msvcrt
else:
    import fcntl

WINDOWS_LOCK_BYTE = 1 << 30  # a locked byte cannot be read on Windows, so it lies far behind the text


class FileLock:
    """A lock on `path`, held by this object until `release` or the end of the process.

    Not re-entrant: a second `FileLock` on the same path is refused, in the same process too.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None

    def acquire(self, info: dict) -> bool:
        """Take the lock and say who holds it; False, at once, when another holder has it.

        Raises:
            OSError: the file cannot be made or written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _try_lock(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        self.update(info)
        return True

    def update(self, info: dict) -> None:
        """Replace what `read` tells. Only the holder may.

        The text is written in place: a renamed file would leave the lock on the old one. The new text goes over the old
        and the rest is cut, so `read` may for an instant see both and then answers {}.
        """
        assert self._descriptor is not None, "update() without the lock"
        text = json.dumps(info).encode()
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, text)
        os.ftruncate(self._descriptor, len(text))

    def read(self) -> dict:
        """What the holder said; {} when there is none, or it is being written."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is None:
            return
        os.ftruncate(self._descriptor, 0)
        _unlock(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            os.lseek(descriptor, WINDOWS_LOCK_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            # flock, not lockf: lockf is lost when any descriptor of the file is closed in this process, also a reader's
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(descriptor: int) -> None:
    if os.name == "nt":
        os.lseek(descriptor, WINDOWS_LOCK_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
