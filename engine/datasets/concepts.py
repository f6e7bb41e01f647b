"""Which folders of a dataset are trained on, and how often: those that `dataset.yaml` lists, and those that Kohya's names say.

Opens no pictures: folders and names only.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from engine.config.dataset_file import DatasetFile
from engine.datasets.dataset import Concept, Finding
from engine.datasets.listing import entries, is_folder, kohya_name, picture_count
from engine.errors import DatasetError

MANY_REPEATS, MAX_REPEATS = 1000, 10_000


def concept_folders(folder: Path, file: DatasetFile | None, repeats: int, findings: list[Finding]) -> dict[Path, Concept]:
    """The folder of each concept, and the concept without its pictures; what is left out goes to the findings.

    What the file lists comes first, in its order. Of other folders, Kohya's `<repeats>_<class tokens>` are read. Where no folder
    is listed nor named so, or none of them holds pictures, the folder's own pictures are one concept, with repeats and class
    tokens from its name where that has Kohya's form.

    Args:
        repeats: showings of each picture per epoch, for a folder of which neither the file nor its name says.

    Raises:
        DatasetError: `dataset.repeats`, `dataset.unreadable_folder`.
    """
    kind = file.kind if file else ""
    own_pictures = picture_count(folder)
    own_name = kohya_name(folder.name) if "_" in folder.name else None
    inner = entries(folder, lambda entry: not entry.name.startswith("_") and is_folder(entry))
    counts = {entry: picture_count(entry) for entry in inner}
    chosen = _listed(folder, file, inner, findings)
    named = {
        entry: Concept(entry.name, *parsed, [], kind=kind)
        for entry in inner
        if (parsed := kohya_name(entry.name)) and entry not in chosen
    }
    if file and file.concepts:
        chosen |= named
        if own_pictures and folder not in chosen:
            text = f"{own_pictures} pictures beside the listed folders are not trained on. List the folder '.' too."
            findings.append(Finding("picture.unlisted", folder, text, {"count": str(own_pictures)}))
    elif any(counts[entry] for entry in named) and not (own_name and own_pictures):
        chosen = named
        if own_pictures:
            text = (
                f"{own_pictures} pictures beside the numbered folders are not trained on. Move them into one of the folders."
            )
            findings.append(Finding("picture.ignored", folder, text, {"count": str(own_pictures)}))
    else:
        chosen = {folder: Concept(folder.name, *(own_name or (repeats, "")), [], kind=kind)}
    for entry in inner:
        if counts[entry] and entry not in chosen:
            text = (
                f"The folder {entry.name!r} with {counts[entry]} pictures is not trained on; "
                f"inside a folder only names such as '10_{entry.name}' are read."
            )
            findings.append(Finding("folder.ignored", entry, text, {"name": entry.name, "count": str(counts[entry])}))
        elif not counts[entry] and entry in chosen:
            findings.append(Finding("folder.empty", entry, f"The folder {entry.name!r} holds no pictures.", {"name": entry.name}))
    for place, concept in chosen.items():
        if (parsed := kohya_name(place.name)) and parsed[0] == concept.repeats:
            _check_repeats(place, concept.repeats, findings)
    return chosen


def _listed(folder: Path, file: DatasetFile | None, inner: list[Path], findings: list[Finding]) -> dict[Path, Concept]:
    places = {unicodedata.normalize("NFC", entry.name): entry for entry in inner} | {".": folder}
    chosen = {}
    for option in file.concepts if file else ():
        place = places.get(unicodedata.normalize("NFC", option.folder))
        if place:
            chosen[place] = Concept(
                place.name, option.repeats, option.class_tokens.strip(), [],
                option.regularisation, option.kind, option.trigger.strip(),
            )  # fmt: skip
        else:
            text = f"dataset.yaml lists the folder {option.folder!r}, which is not there."
            findings.append(Finding("folder.missing", folder / option.folder, text, {"name": option.folder}))
    return chosen


def _check_repeats(place: Path, repeats: int, findings: list[Finding]) -> None:
    """A number as large as a year is seldom meant as repeats."""
    text = f"The folder name {place.name!r} asks for {repeats} showings of each picture per epoch."
    if repeats > MAX_REPEATS:
        expected, todo = f"At most {MAX_REPEATS} are possible.", "Rename the folder, for example '10_name'."
        raise DatasetError("dataset.repeats", text, expected, todo, name=place.name, repeats=repeats)
    if repeats >= MANY_REPEATS:
        text += " Rename the folder if the number means something else."
        findings.append(Finding("folder.many_repeats", place, text, {"name": place.name, "repeats": str(repeats)}))
