"""What lies in a folder, by name alone: pictures, caption files, Kohya's folder names, and the order people count in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from engine.datasets.captions import CAPTION_EXTENSIONS
from engine.datasets.decode import FOREIGN_EXTENSIONS, supported_extensions
from engine.errors import DatasetError


def natural_key(name: str) -> tuple:
    """Sort key by which `2.png` comes before `10.png`, the same on every system."""
    folded = unicodedata.normalize("NFC", name).casefold()
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", folded)], name


def kohya_name(name: str) -> tuple[int, str] | None:
    """Repeats and class tokens of a folder name such as `20_robot`, or None."""
    first, *rest = name.split("_")
    try:
        repeats = int(first)
    except ValueError:
        return None
    return (repeats, "_".join(rest)) if repeats >= 1 else None


def entries(folder: Path, wanted: Callable[[Path], bool] = lambda _: True) -> list[Path]:
    """Visible entries, of those that are wanted, in natural order.

    Raises:
        DatasetError: `dataset.unreadable_folder`.
    """
    try:
        found = [entry for entry in folder.iterdir() if not entry.name.startswith(".") and wanted(entry)]
    except OSError as error:
        raise DatasetError(
            "dataset.unreadable_folder", f"The folder {str(folder)!r} cannot be read: {error.strerror}.",
            todo="Check its permissions.", folder=folder,
        ) from error  # fmt: skip
    return sorted(found, key=lambda entry: natural_key(entry.name))


def picture_files(folder: Path) -> list[Path]:
    """Files that are pictures by their ending, those that cannot be read here included."""
    endings = {*supported_extensions(), *FOREIGN_EXTENSIONS}
    return entries(folder, lambda entry: entry.suffix.lower() in endings and not entry.is_dir())


def caption_files(folder: Path) -> dict[str, list[Path]]:
    """Caption files by the stem they belong to, the one that is used first; NFC, since some systems store names decomposed."""
    files: dict[str, list[Path]] = {}
    listed = entries(folder, lambda entry: entry.suffix.lower() in CAPTION_EXTENSIONS and entry.is_file())
    for entry in sorted(listed, key=lambda entry: CAPTION_EXTENSIONS.index(entry.suffix.lower())):
        files.setdefault(stem(entry), []).append(entry)
    return files


def stem(path: Path) -> str:
    """A file's name without ending, as a picture and its caption share it."""
    return unicodedata.normalize("NFC", path.stem)
