"""Which files an album shows and what tells that they changed: names and stamps, without opening any.

Pictures lie in the dataset's folder and one level below it, whether they are trained on or not; those taken out lie in
`_excluded/` the same way. A file name that is no text (bytes in another system's encoding) is left for `scan` to name: no
page could.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from engine.datasets.captions import CAPTION_EXTENSIONS
from engine.datasets.decode import FOREIGN_EXTENSIONS, supported_extensions
from engine.datasets.listing import ending, is_file, is_folder, listed, natural_key
from engine.errors import DatasetError

EXCLUDED, MASKS = "_excluded", "_masks"
Stamp = tuple[int, int]
"""Size in bytes and modification time in ns; zeros for a broken link."""


class Files(NamedTuple):
    """A picture and what lies beside it.

    Attributes:
        caption_file: its name in the dataset, "" where there is none.
        masked: there is a mask for it.
    """

    picture: Stamp
    caption_file: str
    caption: Stamp
    masked: bool


def list_files(folder: Path, names: Collection[str] | None = None) -> dict[str, Files]:
    """Every picture of a dataset by its name.

    Args:
        names: only these, as far as there are such, and pictures that share a caption file with one of them.

    Raises:
        DatasetError: `dataset.not_a_folder`, `dataset.unreadable_folder`.
    """
    if not os.path.isdir(folder):
        what = f"{str(folder)!r} is not a folder."
        raise DatasetError("dataset.not_a_folder", what, "A dataset is a folder of pictures.", "Check the path.", folder=folder)
    places, stems = _places(folder), None
    if names is not None:
        stems, concerned = {_stem(name) for name in names}, {_place(name) for name in names}
        places = [place for place in places if place in concerned]
    found: dict[str, Files] = {}
    for place in places:
        found |= _files(folder, place, stems)
    return found


def in_order(names: Iterable[str]) -> list[str]:
    """The dataset's own pictures, then folder by folder, then those taken out; each in natural order."""
    places: dict[str, list[str]] = {}
    for name in names:
        places.setdefault(_place(name), []).append(name)
    ordered = sorted(places, key=lambda place: (is_excluded(place), place != "", natural_key(place)))
    return [name for place in ordered for name in sorted(places[place], key=natural_key)]


def is_excluded(name: str) -> bool:
    """Whether a picture or a folder is one of those taken out."""
    return name.partition("/")[0] == EXCLUDED


def concept_of(name: str) -> str:
    """The name of the folder that a picture belongs to, also when it is taken out; "" for the dataset's own pictures."""
    return _place(name.removeprefix(f"{EXCLUDED}/"))


def _place(name: str) -> str:
    return name.rpartition("/")[0]


def _places(folder: Path) -> list[str]:
    """Folders with pictures to show, by their path in the dataset; it is "" itself."""
    places = ["", *_folders(folder)]
    if (folder / EXCLUDED).is_dir():
        places += [EXCLUDED, *(f"{EXCLUDED}/{name}" for name in _folders(folder / EXCLUDED))]
    return places


def _folders(folder: Path) -> list[str]:
    return [entry.name for entry in listed(folder) if is_folder(entry) and entry.name[0] not in "._" and _is_text(entry.name)]


def _files(folder: Path, place: str, stems: set[str] | None) -> dict[str, Files]:
    """The pictures of one place, with the caption file and the mask of each."""
    prefix = f"{place}/" if place else ""
    endings = {*supported_extensions(), *FOREIGN_EXTENSIONS}
    pictures: list[os.DirEntry[str]] = []
    captions: dict[str, list[os.DirEntry[str]]] = {}
    for entry in _visible(folder / place):
        kind = ending(entry.name)
        if kind in endings:
            pictures.append(entry)
        elif kind in CAPTION_EXTENSIONS:
            captions.setdefault(_stem(entry.name), []).append(entry)
    masks = _masks(folder / MASKS / place)
    found = {}
    for entry in pictures:
        stem = _stem(entry.name)
        if (stems is None or prefix + stem in stems) and not is_folder(entry):
            caption = _caption(captions.get(stem, []))
            beside = (prefix + caption.name, _stamp(caption)) if caption else ("", (0, 0))
            found[prefix + entry.name] = Files(_stamp(entry), *beside, entry.name.rpartition(".")[0] in masks)
    return found


def _stem(name: str) -> str:
    """As a picture and its caption share it; NFC, since some systems store names decomposed."""
    return unicodedata.normalize("NFC", name.rpartition(".")[0])


def _caption(files: list[os.DirEntry[str]]) -> os.DirEntry[str] | None:
    """The one that is used where there are several."""
    files = [entry for entry in files if is_file(entry)]
    if len(files) < 2:
        return files[0] if files else None
    return min(files, key=lambda entry: (CAPTION_EXTENSIONS.index(ending(entry.name)), natural_key(entry.name)))


def _masks(folder: Path) -> set[str]:
    """Names without ending of the pictures whose masks are in the folder."""
    return {entry.name[:-4] for entry in _visible(folder) if entry.name.endswith(".png")} if folder.is_dir() else set()


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in listed(folder) if entry.name[0] != "." and _is_text(entry.name)]


def _is_text(name: str) -> bool:
    """Whether a name could be read as text; bytes that could not stand in it as half characters."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _stamp(entry: os.DirEntry[str]) -> Stamp:
    try:
        status = entry.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
