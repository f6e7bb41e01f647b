"""Pictures out of a dataset and back, cut, turned and converted. Nothing is deleted: what is taken out moves to `_excluded`, and
before a picture is altered for the first time it moves to `_originals`. Every operation can be undone to the byte.

A picture's captions, its mask and its original go where it goes. Those that another picture of the same stem needs too stay there.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from PIL import Image

from engine.datasets.album_files import EXCLUDED, is_excluded
from engine.datasets.companions import ORIGINALS, Companions, stem_of
from engine.datasets.decode import Stored, read_bytes, stored_picture
from engine.datasets.incoming.names import is_picture
from engine.datasets.journal import Entry, Journal, Move, Write
from engine.datasets.masks import MASKS, decode_mask, encode_mask, mask_file, mask_name
from engine.datasets.reencode import TARGETS, converted, same_kind
from engine.errors import DatasetError, PathError
from engine.workspace import check_name, safe_join

LEAST_SIDE = 16
"""Side of the smallest piece that can be cut out, px."""
TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
"""Degrees clockwise; Pillow counts the other way."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in px of the upright picture; the last two are outside."""


@dataclass(frozen=True)
class Altered:
    """A picture that was altered.

    Attributes:
        name: its name now.
        first_frame: it was an animation, of which only the first frame is left.
    """

    name: str
    entry: Entry
    first_frame: bool


def exclude(journal: Journal, names: Sequence[str]) -> Entry | None:
    """Take pictures out of the dataset: `a.png` becomes `_excluded/a.png`, or `_excluded/a (2).png` where that is taken.
    Returns None for no names.

    Raises:
        DatasetError: `picture.missing`; as `Journal.apply`.
        PathError: `path.outside`.
    """
    return _move(journal, "exclude", names, lambda place: f"{EXCLUDED}/{place}", excluded=False)


def include(journal: Journal, names: Sequence[str]) -> Entry | None:
    """Bring excluded pictures back, by their names `_excluded/a.png`, each with a number where its name is taken by now.

    Raises: as `exclude`.
    """
    return _move(journal, "include", names, lambda place: place.removeprefix(EXCLUDED).lstrip("/"), excluded=True)


def move(journal: Journal, names: Sequence[str], folder: str) -> Entry | None:
    """Put pictures into a sub-folder of the dataset, a new one if need be, each with a number where its name is taken there.

    Args:
        folder: its name; "" for the dataset's own folder.

    Raises:
        PathError: `path.bad_name`; else as `exclude`.
    """
    if folder.startswith("_"):
        what = f"{folder!r} cannot be used as a name: folders that begin with an underscore are the program's own."
        raise PathError("path.bad_name", what, todo="Choose another name.", name=folder, field="folder")
    if folder and folder not in (entry.name for entry in os.scandir(journal.folder) if entry.is_dir()):
        check_name(folder, "folder")
    elsewhere = [name for name in names if name.rpartition("/")[0] != folder]
    return _move(journal, "move", elsewhere, lambda place: folder, excluded=False)


def crop(journal: Journal, name: str, box: Box) -> Altered:
    """Cut a box out of a picture, and of its mask.

    Raises:
        DatasetError: `crop.outside`, `crop.too_small`, `crop.whole`, `picture.missing`, `picture.unreadable`, `picture.too_large`,
            `picture.cannot_save`, `mask.size`, `mask.unreadable`; as `Journal.apply`.
        PathError: `path.outside`.
    """
    stored, data = _read(journal, name)
    _check_box(box, stored.image.size, name)
    return _redraw(journal, "crop", name, stored, data, lambda image: image.crop(box))


def rotate(journal: Journal, name: str, degrees: int) -> Altered:
    """Turn a picture, and its mask, by 90, 180 or 270 degrees clockwise.

    Raises: `rotate.degrees`; else as `crop`.
    """
    if degrees not in TURNS:
        raise DatasetError(
            "rotate.degrees", f"A picture cannot be turned by {degrees} degrees.", "90, 180 or 270.", degrees=degrees
        )
    stored, data = _read(journal, name)
    return _redraw(journal, "rotate", name, stored, data, lambda image: image.transpose(TURNS[degrees]))


def convert(journal: Journal, name: str, extension: str) -> Altered:
    """Store a picture in another format, under the same name with another ending.

    Args:
        extension: "png", "jpg" or "webp".

    Raises:
        DatasetError: `convert.format`, `convert.same`, `convert.taken`; else as `crop`.
        PathError: `path.outside`.
    """
    ending = f".{extension.lower().lstrip('.')}"
    if ending not in TARGETS:
        raise DatasetError(
            "convert.format", f"Pictures cannot be converted to {extension!r}.", f"One of {', '.join(TARGETS)}.",
            extension=extension, extensions=", ".join(TARGETS),
        )  # fmt: skip
    stored, data = _read(journal, name)
    own = PurePosixPath(name).suffix.lower().replace(".jpeg", ".jpg")
    if own == ending and stored.format == TARGETS[ending]:
        raise DatasetError("convert.same", f"{name!r} is {ending[1:]} already.", name=name, extension=ending[1:])
    new = name if own == ending else str(PurePosixPath(name).with_suffix(ending))
    if new != name and os.path.lexists(journal.folder / new):
        raise DatasetError("convert.taken", f"There is another picture {new!r}.", todo="Rename or exclude one of them.", name=new)
    after = converted(stored, data, TARGETS[ending], name)
    entry = journal.apply("convert", _replace(journal, name, new, data, after), {"name": name, "to": new})
    return Altered(new, entry, stored.animated)


def _move(journal: Journal, label: str, names: Sequence[str], other: Callable[[str], str], excluded: bool) -> Entry | None:
    """Move pictures and what belongs to them, all of one stem together.

    Args:
        other: folder of a picture -> the folder it goes to.
        excluded: whether they must be excluded ones, or must not.
    """
    companions = Companions(journal.folder)
    stems: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        if is_excluded(_existing(journal, name)) != excluded:
            raise _missing(name)
        stems.setdefault(stem_of(name), []).append(name)
    steps: list[Move] = []
    taken: set[str] = set()
    for stem, pictures in stems.items():
        alone = set(pictures) == set(companions.pictures(stem))
        moved = [*pictures, *(companions.belongings(stem) if alone else [])]
        moves = _to_free_names(companions, moved, other(stem.rpartition("/")[0]), taken)
        taken |= {move.target for move in moves}
        steps += moves
    if not steps:
        return None
    return journal.apply(label, steps, {"count": sum(map(len, stems.values())), "name": names[0]})


def _to_free_names(companions: Companions, names: list[str], place: str, taken: set[str]) -> list[Move]:
    """Moves of a picture, the first, and of what belongs to it into another folder, all under the same number if need be."""
    for number in itertools.count(1):
        moves = [Move(name, _in(place, name, number)) for name in names]
        meets = len(moves) > 1 and companions.pictures(stem_of(moves[0].target))  # whose caption and mask these would become
        if not meets and not any(move.target in taken or os.path.lexists(companions.folder / move.target) for move in moves):
            return moves
    raise AssertionError("numbers do not end")


def _in(place: str, name: str, number: int) -> str:
    path = PurePosixPath(name)
    own = path.parts[0] if path.parts[0] in (MASKS, ORIGINALS) else ""
    return str(PurePosixPath(own, place, path.name if number == 1 else f"{path.stem} ({number}){path.suffix}"))


def _redraw(
    journal: Journal, label: str, name: str, stored: Stored, data: bytes, change: Callable[[Image.Image], Image.Image]
) -> Altered:
    """Do the same to a picture and to its mask."""
    after = same_kind(change(stored.image), stored, data, name)
    steps = _replace(journal, name, name, data, after)
    mask = mask_file(journal.folder, name)
    if mask.is_file():
        painted = read_bytes(mask)
        changed = encode_mask(change(decode_mask(painted, name, stored.image.size)))
        if changed != painted:
            steps.append(Write(mask_name(name), painted, changed))
    return Altered(name, journal.apply(label, steps, {"name": name}), stored.animated)


def _replace(journal: Journal, name: str, new: str, before: bytes, after: bytes) -> list[Move | Write]:
    """The picture `name` becomes the picture `new`; its first original is kept."""
    if not Companions(journal.folder).has_original(name):
        return [Move(name, f"{ORIGINALS}/{name}"), Write(new, None, after)]
    if new == name:
        return [Write(name, before, after)]
    return [Write(name, before, None), Write(new, None, after)]


def _read(journal: Journal, name: str) -> tuple[Stored, bytes]:
    data = read_bytes(journal.folder / _existing(journal, name))
    return stored_picture(data, name), data


def _existing(journal: Journal, name: str) -> str:
    """The name, of a picture that is there and is not kept for the program.

    Raises:
        PathError: `path.outside`.
        DatasetError: `picture.missing`.
    """
    parts = name.removeprefix(f"{EXCLUDED}/").split("/")
    ours = (len(parts) > 1 and parts[0].startswith("_")) or any(part.startswith(".") or not part for part in parts)
    if ours or not is_picture(name) or not os.path.lexists(safe_join(journal.folder, name)):
        raise _missing(name)
    return name


def _missing(name: str) -> DatasetError:
    return DatasetError(
        "picture.missing", f"There is no picture {name!r} here any more.", todo="Look at the dataset again.", name=name
    )


def _check_box(box: Box, size: tuple[int, int], name: str) -> None:
    left, top, right, bottom = box
    shown, picture = f"{left}, {top}, {right}, {bottom}", f"{size[0]}x{size[1]}"
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise DatasetError(
            "crop.outside", f"The box {shown} does not lie in {name!r}.", f"It has {picture} px.",
            "Draw the frame again.", name=name, box=shown, size=picture,
        )  # fmt: skip
    if min(right - left, bottom - top) < LEAST_SIDE:
        raise DatasetError(
            "crop.too_small", f"The box {shown} is too small.", f"At least {LEAST_SIDE} px on each side.",
            "Draw a larger frame.", box=shown, least=LEAST_SIDE,
        )  # fmt: skip
    if (right - left, bottom - top) == size:
        raise DatasetError("crop.whole", f"The box is the whole of {name!r}.", todo="Draw a smaller frame.", name=name)
