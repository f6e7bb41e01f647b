"""What lies in a folder, by name alone: pictures, caption files, Kohya's folder names, and the order people count in."""

from __future__ import annotations

import os
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


def entries(folder: Path, wanted: Callable[[os.DirEntry[str]], bool] = lambda _: True) -> list[Path]:
    """Visible entries, of those that are wanted, in natural order.

    Raises:
        DatasetError: `dataset.unreadable_folder`.
    """
    found = [folder / entry.name for entry in listed(folder) if not entry.name.startswith(".") and wanted(entry)]
    return sorted(found, key=lambda entry: natural_key(entry.name))


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """Everything in a folder as the system lists it, with what it tells for nothing: for most, whether it is a folder.

    Raises:
        DatasetError: `dataset.unreadable_folder`.
    """
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise DatasetError(
            "dataset.unreadable_folder", f"The folder {str(folder)!r} cannot be read: {error.strerror}.",
            todo="Check its permissions.", folder=folder,
        ) from error  # fmt: skip


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one. A link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """The same for a file."""
    try:
        return entry.is_file()
    except OSError:
        return False


def picture_files(folder: Path) -> list[Path]:
    """Files that are pictures by their ending, those that cannot be read here included."""
    return entries(folder, _is_picture())


def picture_count(folder: Path) -> int:
    """How many there are."""
    is_picture = _is_picture()
    return sum(not entry.name.startswith(".") and is_picture(entry) for entry in listed(folder))


def _is_picture() -> Callable[[os.DirEntry[str]], bool]:
    endings = {*supported_extensions(), *FOREIGN_EXTENSIONS}
    return lambda entry: ending(entry.name) in endings and not is_folder(entry)


def caption_files(folder: Path) -> dict[str, list[Path]]:
    """Caption files by the stem they belong to, the one that is used first; NFC, since some systems store names decomposed."""
    files: dict[str, list[Path]] = {}
    found = entries(folder, lambda entry: ending(entry.name) in CAPTION_EXTENSIONS and is_file(entry))
    for entry in sorted(found, key=lambda entry: CAPTION_EXTENSIONS.index(ending(entry.name))):
        files.setdefault(stem(entry), []).append(entry)
    return files


def ending(name: str) -> str:
    """The last part of a file's name, in lower case and with its dot; "" where there is none."""
    _, dot, last = name.rpartition(".")
    return dot + last.lower() if dot else ""


def stem(path: Path) -> str:
    """A file's name without ending, as a picture and its caption share it."""
    return unicodedata.normalize("NFC", path.stem)
