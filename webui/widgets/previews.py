"""Small copies of pictures for the page, in a cache folder of their own: the only files besides finished pictures that are served."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from PIL.Image import Image

from engine.datasets.decode import load_picture
from engine.errors import EngineError
from engine.workspace import Workspace, atomic_write

LARGEST = 512
"""Longest side of a preview, px; smaller pictures keep their size."""


def folder(workspace: Workspace) -> Path:
    return workspace.cache / "previews"


def preview(
    workspace: Workspace, picture: Path, largest: int = LARGEST, read: Callable[[Path], Image] = load_picture
) -> Path | None:
    """A small copy of a picture, made once for each content; None when the picture cannot be read.

    Args:
        read: gets the picture out of the file.
    """
    try:
        copy = copy_of(workspace, picture, largest)
        if not copy.exists():
            image = read(picture)
            image.thumbnail((largest, largest))
            with atomic_write(copy) as stream:
                image.save(stream, format="PNG")
    except (OSError, EngineError):
        return None
    return copy


def copy_of(workspace: Workspace, picture: Path, largest: int = LARGEST) -> Path:
    """Where the small copy of a picture lies, or will lie once it is made. Raises OSError: there is no such picture."""
    status = picture.stat()
    identity = f"{picture}\0{status.st_size}\0{status.st_mtime_ns}\0{largest}"
    return folder(workspace) / f"{hashlib.sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.png"


def url(file: Path) -> str:
    """The address of a file that may be served."""
    return f"/gradio_api/file={quote(file.as_posix())}"
