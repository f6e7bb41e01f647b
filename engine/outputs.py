"""The saved pictures: listed newest first, found by the words of their prompts, put into a trash and back, or into a dataset.

Names are paths below the folder of outputs with `/`. Nothing is ever deleted here. Imports no torch; Pillow only to read a text.
"""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from engine.errors import DatasetError, PathError
from engine.file_notes import FileNotes
from engine.formats.infotext import parse_infotext, read_infotext_from_image
from engine.generation.attention import plain_text
from engine.generation.prompt import parse_tags
from engine.workspace import Workspace, atomic_write, check_name, safe_join, stamp, sync_folder

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
TRASH = ".trash"
NOTE = "prompt"
"""Kind of the notes: the prompt of a picture as it is searched."""


class Page(NamedTuple):
    """Some of the pictures.

    Attributes:
        names: newest first.
        total: how many there are in all.
    """

    names: list[str]
    total: int


def pictures(workspace: Workspace, words: str = "", start: int = 0, count: int = 24) -> Page:
    """Saved pictures whose prompts have all the words somewhere, in any case."""
    wanted = _folded(words).split()
    newest = [name for _, name in sorted(_scan(workspace.outputs), reverse=True)]
    if wanted:
        prompts = _prompts(workspace, newest)
        newest = [name for name in newest if all(word in prompts[name] for word in wanted)]
    return Page(newest[start : start + count], len(newest))


def find(workspace: Workspace, name: str) -> Path:
    """The file of a saved picture.

    Raises:
        PathError: `path.outside`; `output.missing` where there is no such picture.
    """
    file = safe_join(workspace.outputs, name)
    hidden = any(part.startswith(".") for part in Path(name).parts)
    if hidden or file.suffix.lower() not in ENDINGS or not file.is_file():
        raise _missing(name)
    return file


def infotext(workspace: Workspace, name: str) -> str:
    """What a picture says of its making, "" for nothing.

    Raises:
        PathError: as `find`.
        DatasetError: `image.unreadable`.
    """
    return read_infotext_from_image(find(workspace, name)) or ""


def trash(workspace: Workspace, name: str) -> str:
    """Move a picture into the trash; returns its name there, for `restore`.

    Raises:
        PathError: as `find`.
    """
    file = find(workspace, name)
    place = _free(workspace.outputs / TRASH / time.strftime("%Y-%m-%d") / Path(name))
    _move(file, place)
    return place.relative_to(workspace.outputs / TRASH).as_posix()


def restore(workspace: Workspace, trashed: str) -> str:
    """Move a picture back from the trash to where it was; returns its name, another one if that is taken.

    Raises:
        PathError: `path.outside`, `output.missing`.
    """
    folder = workspace.outputs / TRASH
    file = safe_join(folder, trashed)
    if file.suffix.lower() not in ENDINGS or not file.is_file():
        raise _missing(trashed)
    parts = file.resolve().relative_to(folder.resolve()).parts
    target = _free(workspace.outputs.joinpath(*(parts[1:] or parts)))  # the first is the day it was thrown away
    _move(file, target)
    return target.relative_to(workspace.outputs).as_posix()


def add_to_dataset(workspace: Workspace, name: str, dataset: str = "generated") -> str:
    """Copy a picture, with its prompt as its caption, into a dataset to train on; returns the name of its file there.

    Adapter tags and the weights of the prompt are left out of the caption. The same picture is added once.

    Raises:
        PathError: as `find`; `path.outside`, `path.bad_name`.
        DatasetError: `image.unreadable`.
    """
    file = find(workspace, name)
    prompt = parse_infotext(read_infotext_from_image(file) or "")[0]
    folder = safe_join(workspace.root / "datasets", check_name(dataset))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    content = file.read_bytes()
    if target.exists() and target.read_bytes() != content:
        target = _free(target)
    with atomic_write(target) as stream:
        stream.write(content)
    with atomic_write(target.with_suffix(".txt"), "w") as stream:
        stream.write(" ".join(plain_text(parse_tags(prompt)[0]).split()))
    return target.name


def _scan(folder: Path, below: str = "") -> Iterator[tuple[int, str]]:
    """(modification time, name) of every picture; nothing hidden, and no link is followed."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _scan(Path(entry.path), f"{name}/")
            elif entry.name.lower().endswith(ENDINGS) and entry.is_file(follow_symlinks=False):
                yield entry.stat(follow_symlinks=False).st_mtime_ns, name


def _prompts(workspace: Workspace, names: list[str]) -> dict[str, str]:
    """The prompts as they are searched; each picture is opened for it once."""
    files = {name: workspace.outputs / name for name in names}
    notes = FileNotes(workspace.cache)
    kept, new = notes.read_all(NOTE, list(files.values())), {}
    for file in files.values():
        if file not in kept:
            seen = stamp(file)
            kept[file] = _prompt(file)
            new[file] = kept[file], seen
    notes.write_all(NOTE, new)
    return {name: kept[file] for name, file in files.items()}


def _prompt(file: Path) -> str:
    try:
        return _folded(parse_infotext(read_infotext_from_image(file) or "")[0])
    except DatasetError:
        return ""


def _folded(text: str) -> str:
    """Text in which upper and lower case, and wide and narrow letters, are the same."""
    return unicodedata.normalize("NFKC", text).casefold()


def _free(file: Path) -> Path:
    """The path itself, or with a number where it is taken."""
    numbered = (file.with_stem(f"{file.stem}-{i}") if i else file for i in range(100_000))
    return next(path for path in numbered if not path.exists())


def _move(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(file, target)
    sync_folder(target.parent)
    sync_folder(file.parent)


def _missing(name: str) -> PathError:
    return PathError("output.missing", f"There is no picture {name!r} any more.", todo="Look at the list again.", name=name)
