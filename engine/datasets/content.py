"""The exact content of a dataset: every file by name, size and SHA-256, so that "which data made this LoRA" can be answered.

A run keeps it in its folder; its fingerprint goes into the LoRA, and shows before a resume whether the data is still the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from engine.datasets.concepts import concept_folders
from engine.datasets.dataset import Dataset
from engine.datasets.dataset_file import NAME, read_dataset_file
from engine.datasets.decode import picture_size
from engine.datasets.listing import caption_files, picture_files, stem
from engine.datasets.metadata_captions import metadata_files
from engine.errors import DatasetError
from engine.workspace import atomic_write

CONTENT = "content.json"
"""Its file in the folder of a run."""
MAX_CONTENT_BYTES = 2**28


@dataclass(frozen=True)
class ContentFile:
    """A picture, a caption file, metadata with captions, or `dataset.yaml`: `name` below the dataset's folder with `/`, size in
    bytes, SHA-256 in hexadecimal, and the time of its last change in ns."""

    name: str
    size: int
    sha256: str
    mtime_ns: int


@dataclass(frozen=True)
class Content:
    """The files of a dataset, each once."""

    files: tuple[ContentFile, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over name, size and hash of every file, in the order they are trained on: equal means the same data."""
        lines = (f"{file.name}\0{file.size}\0{file.sha256}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Changes:
    """Names of files that came, went, or have other bytes now."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def content(dataset: Dataset) -> Content:
    """Read and hash every file of a dataset.

    Raises:
        DatasetError: `dataset.changed` when a file has gone since the scan.
    """
    paths: dict[Path, None] = {}
    for picture in dataset.pictures:
        paths[picture.path] = None
        if picture.caption_path:
            paths[picture.caption_path] = None
    paths |= dict.fromkeys(dataset.sources)
    return Content(tuple(_recorded(path, dataset.folder) for path in paths))


def _recorded(path: Path, folder: Path) -> ContentFile:
    try:
        status = path.stat()
        return ContentFile(path.relative_to(folder).as_posix(), status.st_size, file_hash(path), status.st_mtime_ns)
    except OSError as error:
        raise DatasetError(
            "dataset.changed", f"{path.name!r} could be read a moment ago and cannot now: {error.strerror}.",
            todo="Start again when nothing else changes the folder.", name=path.name,
        ) from error  # fmt: skip


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def changes_since(recorded: Content, folder: Path) -> Changes:
    """What is different in a dataset's folder now.

    A file with its recorded size and time is taken as unchanged; one of another size has changed; one of another time alone is
    hashed. So a copy of the dataset is recognised, and what goes unseen is only a change that puts size and time back.

    Raises:
        DatasetError: `dataset.unreadable_folder`, `dataset.file`, `dataset.repeats`.
    """
    known = {file.name: file for file in recorded.files}
    present = {path.relative_to(folder).as_posix(): path for path in _present(folder, known)}
    return Changes(
        added=tuple(name for name in present if name not in known),
        removed=tuple(name for name in known if name not in present),
        changed=tuple(name for name, file in known.items() if name in present and _differs(present[name], file)),
    )


def _differs(path: Path, file: ContentFile) -> bool:
    try:
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (file.size, file.mtime_ns):
            return False
        return status.st_size != file.size or _hash_at(path, status.st_size, status.st_mtime_ns) != file.sha256
    except OSError:
        return True


@lru_cache(maxsize=2**16)
def _hash_at(path: Path, _size: int, _mtime_ns: int) -> str:
    """Kept while the process lives, since a page asks again and again."""
    return file_hash(path)


def _present(folder: Path, known: Container[str]) -> Iterator[Path]:
    """The files that a scan would read; of pictures that are not known, those whose header can be read."""
    file = read_dataset_file(folder)
    places = concept_folders(folder, file, 1, [])
    for place in places:
        captions = caption_files(place)
        for path in picture_files(place):
            if path.relative_to(folder).as_posix() in known or _is_readable(path):
                yield path
                yield from captions.get(stem(path), [])[:1]
    yield from metadata_files([folder, *places])
    if file:
        yield folder / NAME


def _is_readable(path: Path) -> bool:
    try:
        picture_size(path)
    except DatasetError:
        return False
    return True


def write_content(content: Content, run: Path) -> None:
    """Keep the content in the folder of a run."""
    data = {"version": 1, "fingerprint": content.fingerprint, "files": [asdict(file) for file in content.files]}
    with atomic_write(run / CONTENT, "w") as stream:
        json.dump(data, stream, indent=0)


def read_content(run: Path) -> Content | None:
    """The content that a run recorded; None if it has recorded none.

    Raises:
        DatasetError: `dataset.content`.
    """
    path = run / CONTENT
    try:
        if path.stat().st_size > MAX_CONTENT_BYTES:
            raise ValueError(f"it is larger than {MAX_CONTENT_BYTES} bytes")
        data = json.loads(path.read_bytes())
        found = Content(tuple(ContentFile(**file) for file in data["files"]))
        if found.fingerprint != data["fingerprint"]:
            raise ValueError("it does not fit its fingerprint")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatasetError(
            "dataset.content", f"The record of the data in {CONTENT} cannot be read: {error}.",
            todo="It only tells whether the data has changed; the run itself does not need it.",
            file=CONTENT, reason=error,
        ) from error  # fmt: skip
