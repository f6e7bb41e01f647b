"""What a folder holds: pictures, captions and repeats, read the way Kohya's trainer reads them, and all that is wrong.

Opens headers and caption files only; decodes no pixels and knows no buckets. A file that cannot be used is named in the
findings and left out; only a folder without any usable picture is an error.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from engine.datasets.captions import CAPTION_EXTENSIONS, read_caption
from engine.datasets.dataset import CaptionSource, Concept, Dataset, Finding, Picture
from engine.datasets.decode import FOREIGN_EXTENSIONS, picture_size, supported_extensions
from engine.errors import DatasetError

MANY_REPEATS, MAX_REPEATS = 1000, 10_000


def scan(folder: Path, repeats: int = 1, trigger: str = "", caption_encoding: str | None = None) -> Dataset:
    """Read a dataset folder.

    Kohya's sub-folders `<repeats>_<class tokens>` win when any holds pictures; else the folder's own pictures are one
    concept, with repeats and class tokens from its name where that has Kohya's form. No other folder is entered.

    Args:
        repeats: showings of each picture per epoch, for a folder whose name does not say.
        trigger: the caption where neither a file nor the folder name gives one.
        caption_encoding: a Python codec name when the caption files' encoding is known; None finds out file by file.

    Raises:
        DatasetError: `dataset.not_a_folder`, `dataset.unreadable_folder`, `dataset.no_pictures`, `dataset.repeats`.
    """
    folder = Path(os.path.abspath(folder))  # a folder given as "." has a name too
    if not os.path.isdir(folder):
        what = f"{str(folder)!r} is not a folder."
        raise DatasetError("dataset.not_a_folder", what, "A dataset is a folder of pictures.", "Check the path.", folder=folder)
    findings: list[Finding] = []
    concepts = []
    for place, count, tokens in _concept_folders(folder, repeats, findings):
        pictures = _pictures(place, tokens or trigger, "folder" if tokens else "trigger", caption_encoding, findings)
        if pictures:
            concepts.append(Concept(place.name, count, tokens, pictures))
    if not concepts:
        raise _no_pictures(folder, findings)
    dataset = Dataset(folder, concepts, findings)
    if len(dataset.pictures) == 1:
        text = "There is only one picture. The result will copy it rather than learn from it; 10 to 40 pictures are usual."
        findings.append(Finding("dataset.one_picture", folder, text))
    return dataset


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


def _entries(folder: Path) -> list[Path]:
    """Visible entries in natural order."""
    try:
        return sorted(
            (entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda entry: natural_key(entry.name)
        )
    except OSError as error:
        raise DatasetError(
            "dataset.unreadable_folder", f"The folder {str(folder)!r} cannot be read: {error.strerror}.",
            todo="Check its permissions.", folder=folder,
        ) from error  # fmt: skip


def _picture_files(folder: Path) -> list[Path]:
    wanted = {*supported_extensions(), *FOREIGN_EXTENSIONS}
    return [entry for entry in _entries(folder) if entry.suffix.lower() in wanted and not entry.is_dir()]


def _concept_folders(folder: Path, repeats: int, findings: list[Finding]) -> list[tuple[Path, int, str]]:
    """Place, repeats and class tokens of each concept."""
    own_pictures = _picture_files(folder)
    own_name = kohya_name(folder.name) if "_" in folder.name else None
    inner = [entry for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith("_")]
    counts = {entry: len(_picture_files(entry)) for entry in inner}
    named = {entry: parsed for entry in inner if (parsed := kohya_name(entry.name))}
    if any(counts[entry] for entry in named) and not (own_name and own_pictures):
        if own_pictures:
            text = (
                f"{len(own_pictures)} pictures beside the numbered folders are not trained on. Move them into one of the folders."
            )
            findings.append(Finding("picture.ignored", folder, text, {"count": str(len(own_pictures))}))
    else:
        named = {folder: own_name} if own_name else {}
    for entry in inner:
        if counts[entry] and entry not in named:
            text = (
                f"The folder {entry.name!r} with {counts[entry]} pictures is not trained on; "
                f"inside a folder only names such as '10_{entry.name}' are read."
            )
            findings.append(Finding("folder.ignored", entry, text, {"name": entry.name, "count": str(counts[entry])}))
        elif not counts[entry] and entry in named:
            findings.append(Finding("folder.empty", entry, f"The folder {entry.name!r} holds no pictures.", {"name": entry.name}))
    for place, (count, _) in named.items():
        _check_repeats(place, count, findings)
    return [(place, *parsed) for place, parsed in named.items()] or [(folder, repeats, "")]


def _check_repeats(place: Path, repeats: int, findings: list[Finding]) -> None:
    """A number as large as a year is seldom meant as repeats."""
    text = f"The folder name {place.name!r} asks for {repeats} showings of each picture per epoch."
    if repeats > MAX_REPEATS:
        expected, todo = f"At most {MAX_REPEATS} are possible.", "Rename the folder, for example '10_name'."
        raise DatasetError("dataset.repeats", text, expected, todo, name=place.name, repeats=repeats)
    if repeats >= MANY_REPEATS:
        text += " Rename the folder if the number means something else."
        findings.append(Finding("folder.many_repeats", place, text, {"name": place.name, "repeats": str(repeats)}))


def _pictures(folder: Path, fallback: str, source: CaptionSource, encoding: str | None, findings: list[Finding]) -> list[Picture]:
    captions = _caption_files(folder)
    pictures: list[Picture] = []
    stems: dict[str, Path] = {}
    for path in _picture_files(folder):
        try:
            width, height = picture_size(path)
        except DatasetError as error:
            findings.append(Finding(error.code, path, str(error), error.to_dict()["values"]))
            continue
        stem = unicodedata.normalize("NFC", path.stem)
        if stem in stems:
            text = f"{path.name!r} and {stems[stem].name!r} share one name, so they share one caption file."
            findings.append(Finding("picture.same_stem", path, text, {"name": path.name, "other": stems[stem].name}))
        stems.setdefault(stem, path)
        files = captions.get(stem, [])
        caption = _caption(path, files, fallback, encoding, findings)
        origin: CaptionSource = "file" if caption else source if fallback else "none"
        pictures.append(Picture(path, width, height, caption or fallback, origin, files[0] if files else None))
    return pictures


def _caption_files(folder: Path) -> dict[str, list[Path]]:
    """Caption files by the stem they belong to; NFC, since some systems store file names decomposed."""
    files: dict[str, list[Path]] = {}
    for extension in CAPTION_EXTENSIONS:
        for entry in _entries(folder):
            if entry.suffix.lower() == extension and entry.is_file():
                files.setdefault(unicodedata.normalize("NFC", entry.stem), []).append(entry)
    return files


def _caption(path: Path, files: list[Path], fallback: str, encoding: str | None, findings: list[Finding]) -> str:
    """The caption in the file, or "" with a finding that says what is used instead."""
    instead = f"The caption is {fallback!r} instead." if fallback else "It is trained without a caption."
    if not files:
        findings.append(Finding("caption.missing", path, f"{path.name!r} has no caption file. {instead}", {"fallback": fallback}))
        return ""
    file = files[0]
    if len(files) > 1:
        text = f"{path.name!r} has the captions {file.name!r} and {files[1].name!r}; the first is used."
        findings.append(Finding("caption.two_files", path, text, {"used": file.name, "other": files[1].name}))
    try:
        caption = read_caption(file, encoding)
    except DatasetError as error:
        findings.append(
            Finding(error.code, file, f"{file.name!r}: {error} {instead}", {**error.to_dict()["values"], "fallback": fallback})
        )
        return ""
    if caption.further_lines:
        text = f"{file.name!r} has {caption.further_lines} lines below the first; only the first line is the caption."
        findings.append(Finding("caption.further_lines", file, text, {"count": str(caption.further_lines)}))
    if not caption.text:
        findings.append(
            Finding("caption.empty", file, f"The first line of {file.name!r} is empty. {instead}", {"fallback": fallback})
        )
    return caption.text


def _no_pictures(folder: Path, findings: list[Finding]) -> DatasetError:
    extensions = ", ".join(supported_extensions())
    reasons = [finding.text for finding in findings if finding.code.startswith("picture.")]
    passed = [finding.text for finding in findings if finding.code == "folder.ignored"]
    what = (
        f"None of the {len(reasons)} pictures in {str(folder)!r} can be used."
        if reasons
        else f"There are no pictures in {str(folder)!r}."
    )
    return DatasetError(
        "dataset.no_pictures", what, f"Pictures end in {extensions}.",
        " ".join((reasons + passed)[:3]) or "Choose the folder that holds the pictures.", folder=folder, extensions=extensions,
    )  # fmt: skip
