"""What a folder holds: pictures, captions and repeats, read the way Kohya's trainer reads them, and all that is wrong.

Opens headers and caption files only; decodes no pixels and knows no buckets. A file that cannot be used is named in the
findings and left out; only a folder without any usable picture is an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.datasets.captions import read_caption
from engine.datasets.concepts import concept_folders
from engine.datasets.dataset import CaptionSource, Concept, Dataset, Finding, Picture
from engine.datasets.dataset_file import NAME, read_dataset_file
from engine.datasets.decode import picture_size, supported_extensions
from engine.datasets.listing import caption_files, picture_files, stem
from engine.datasets.metadata_captions import metadata_captions, metadata_files
from engine.errors import DatasetError


def scan(folder: Path, repeats: int = 1, trigger: str = "", caption_encoding: str | None = None) -> Dataset:
    """Read a dataset folder.

    Its folders are those of `concepts.concept_folders`; no other is entered. A picture's caption is the one in its `.txt` or
    `.caption` file, else in metadata beside it or in the dataset's folder, else the class tokens, else the trigger word.

    Args:
        repeats: showings of each picture per epoch, where neither the folder's name nor `dataset.yaml` says.
        trigger: the run's word; "" takes that of `dataset.yaml`. A concept's own word goes before either.
        caption_encoding: a Python codec name when the caption files' encoding is known; None finds out file by file.

    Raises:
        DatasetError: `dataset.not_a_folder`, `dataset.unreadable_folder`, `dataset.file`, `dataset.no_pictures`,
            `dataset.repeats`, `dataset.only_regularisation`.
    """
    dataset = survey(folder, repeats, trigger, caption_encoding)
    if problem := nothing_to_learn(dataset):
        raise problem
    return dataset


def survey(folder: Path, repeats: int = 1, trigger: str = "", caption_encoding: str | None = None) -> Dataset:
    """What `scan` reads, also of a folder where nothing is left to train on; see `nothing_to_learn`."""
    folder = Path(os.path.abspath(folder))  # a folder given as "." has a name too
    if not os.path.isdir(folder):
        what = f"{str(folder)!r} is not a folder."
        raise DatasetError("dataset.not_a_folder", what, "A dataset is a folder of pictures.", "Check the path.", folder=folder)
    file = read_dataset_file(folder)
    findings: list[Finding] = []
    places = concept_folders(folder, file, repeats, findings)
    metadata = metadata_files([folder, *places])
    told = _told(metadata, places, findings)
    reader = _Reader(trigger, file.trigger.strip() if file else "", caption_encoding, told, findings)
    concepts = [replace(concept, pictures=reader.pictures(place, concept)) for place, concept in places.items()]
    concepts = [concept for concept in concepts if concept.pictures]
    dataset = Dataset(folder, concepts, findings, (*((folder / NAME,) if file else ()), *metadata))
    return replace(dataset, findings=[*findings, *_about(dataset)])


def nothing_to_learn(dataset: Dataset) -> DatasetError | None:
    """Why nobody can train on what `survey` found: `dataset.no_pictures` or `dataset.only_regularisation`; None where one can."""
    if not dataset.concepts:
        return _no_pictures(dataset.folder, dataset.findings)
    if not dataset.learnt:
        return DatasetError(
            "dataset.only_regularisation", "All pictures are for regularisation; none is left to be learnt.",
            "At least one folder that is learnt.", "Switch regularisation off for a folder.", folder=dataset.folder,
        )  # fmt: skip
    return None


def _about(dataset: Dataset) -> list[Finding]:
    """What can be said of the whole only."""
    found = []
    if sum(len(concept.pictures) for concept in dataset.learnt) == 1:
        text = "There is only one picture. The result will copy it rather than learn from it; 10 to 40 pictures are usual."
        found.append(Finding("dataset.one_picture", dataset.folder, text))
    if left := dataset.repeats.count(0):
        text = f"{left} regularisation pictures are left over: they are shown no more often than what is learnt."
        found.append(Finding("regularisation.left_over", dataset.folder, text, {"count": str(left)}))
    return found


def _told(metadata: list[Path], places: Iterable[Path], findings: list[Finding]) -> dict[Path, str]:
    """The captions in metadata."""
    paths = [path for place in places for path in picture_files(place)] if metadata else []
    told: dict[Path, str] = {}
    for file in metadata:
        names = {path.relative_to(file.parent).as_posix(): path for path in paths if path.is_relative_to(file.parent)}
        try:
            told |= {names[name]: caption for name, caption in metadata_captions(file, names).items()}
        except DatasetError as error:
            findings.append(Finding(error.code, file, str(error), error.to_dict()["values"]))
    return told


@dataclass(frozen=True)
class _Reader:
    """Reads the pictures of a dataset's folders.

    Attributes:
        run, own: the trigger word of the run and of the dataset.
        told: captions from metadata.
        findings: filled here.
    """

    run: str
    own: str
    encoding: str | None
    told: dict[Path, str]
    findings: list[Finding]

    def pictures(self, folder: Path, concept: Concept) -> list[Picture]:
        word = "" if concept.regularisation else concept.trigger or self.run or self.own
        trigger = "" if concept.regularisation else concept.trigger or ("" if self.run else self.own) or None
        fallback = concept.class_tokens or word
        instead: CaptionSource = "folder" if concept.class_tokens else "trigger" if word else "none"
        captions = caption_files(folder)
        pictures: list[Picture] = []
        stems: dict[str, Path] = {}
        for path in picture_files(folder):
            try:
                width, height = picture_size(path)
            except DatasetError as error:
                self.findings.append(Finding(error.code, path, str(error), error.to_dict()["values"]))
                continue
            other = stems.setdefault(stem(path), path)
            if other != path:
                text = f"{path.name!r} and {other.name!r} share one name, so they share one caption file."
                self.findings.append(Finding("picture.same_stem", path, text, {"name": path.name, "other": other.name}))
            files = captions.get(stem(path), [])
            caption, source = self._caption(path, files, fallback)
            pictures.append(
                Picture(path, width, height, caption or fallback, source or instead, files[0] if files else None, trigger)
            )
        return pictures

    def _caption(self, path: Path, files: list[Path], fallback: str) -> tuple[str, CaptionSource | None]:
        """A picture's own caption and where it is from, or "" with a finding that says what is used instead."""
        instead = f"The caption is {fallback!r} instead." if fallback else "It is trained without a caption."
        if not files:
            if path in self.told:
                return self.told[path], "metadata"
            text = f"{path.name!r} has no caption file. {instead}"
            self.findings.append(Finding("caption.missing", path, text, {"fallback": fallback}))
            return "", None
        file = files[0]
        if len(files) > 1:
            text = f"{path.name!r} has the captions {file.name!r} and {files[1].name!r}; the first is used."
            self.findings.append(Finding("caption.two_files", path, text, {"used": file.name, "other": files[1].name}))
        try:
            caption = read_caption(file, self.encoding)
        except DatasetError as error:
            values = {**error.to_dict()["values"], "fallback": fallback}
            self.findings.append(Finding(error.code, file, f"{file.name!r}: {error} {instead}", values))
            return "", None
        if caption.further_lines:
            text = f"{file.name!r} has {caption.further_lines} lines below the first; only the first line is the caption."
            self.findings.append(Finding("caption.further_lines", file, text, {"count": str(caption.further_lines)}))
        if not caption.text:
            text = f"The first line of {file.name!r} is empty. {instead}"
            self.findings.append(Finding("caption.empty", file, text, {"fallback": fallback}))
        return (caption.text, "file") if caption.text else ("", None)


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
