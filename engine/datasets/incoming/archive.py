"""What a .zip from a stranger holds, judged before a byte of it is unpacked.

An archive that is made to do harm, or is broken, is refused as a whole and says which entry it was. Files that are merely of no
use are named and left out. Only the two methods that everyone writes are read: bzip2 and LZMA can grow without bound inside one read.
"""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.datasets.encodings import decode_text
from engine.datasets.incoming.names import Note, arrival_name, is_hidden, is_kohya, note, safe_parts, shown
from engine.errors import DatasetError, PathError

MAX_ENTRIES = 50_000
MAX_DIRECTORY = 8 * 2**20
"""Bytes of the list of contents, which is held in memory."""
MAX_RATIO = 100
SMALL = 2**20
"""Bytes up to which an entry may unpack to any multiple of its packed size, as flat pictures and captions do."""
CHUNK = 2**20

_UTF8 = 0x800
_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


@dataclass(frozen=True)
class Member:
    """A file in an archive that may come in.

    Attributes:
        sent: its path in the archive.
        name: the name it would like in the dataset.
    """

    sent: str
    name: str
    info: zipfile.ZipInfo


@contextmanager
def open_archive(file: Path, label: str) -> Iterator[zipfile.ZipFile]:
    """Open a .zip without believing what it says of its own size.

    Args:
        label: what it is called in an error.

    Raises:
        DatasetError: `archive.unreadable`, `archive.too_many`.
    """
    with _Bounded(file.open("rb", buffering=0), label) as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except DatasetError:
            raise
        except Exception as error:  # hostile bytes raise anything from UnicodeDecodeError to struct.error
            raise _unreadable(label, "", error) from error
        with archive:
            yield archive


def members(archive: zipfile.ZipFile, size: int, label: str) -> tuple[list[Member], list[Note]]:
    """The files that may come in, and a note on each that may not. The folder that holds everything is left out of the names,
    unless it is a concept in Kohya's form.

    Args:
        size: bytes of the archive.

    Raises:
        PathError: `incoming.unsafe_name`.
        DatasetError: `archive.too_many`, `archive.encrypted`, `archive.method`, `archive.ratio`, `archive.no_file`,
            `archive.duplicate`.
    """
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise _too_many(label)
    files: list[tuple[str, list[str], zipfile.ZipInfo]] = []
    seen: set[str] = set()
    for info, name in zip(infos, _names(infos), strict=True):
        parts = safe_parts(name)
        _check(info, name, label)
        if name in seen:
            raise _refused("archive.duplicate", "holds two files of the name", label, name)
        seen.add(name)
        if not name.endswith(("/", "\\")):
            files.append((name, parts, info))
    if sum(info.file_size for *_, info in files) > max(MAX_RATIO * size, SMALL):  # entries may share the same packed bytes
        largest = max(files, key=lambda file: file[2].file_size)[0]
        raise _refused("archive.ratio", "unpacks to far more than any pictures would:", label, largest)
    top = _common_top([parts for _, parts, _ in files if not is_hidden(parts)])
    found, notes = [], []
    for name, parts, info in files:
        try:
            found.append(Member(name, arrival_name(parts if is_hidden(parts) else parts[top:]), info))
        except PathError as error:
            notes.append(note(name, error))
    return found, notes


def unpacked(archive: zipfile.ZipFile, member: Member, label: str) -> Iterator[bytes]:
    """The bytes of a file in pieces.

    Raises:
        DatasetError: `archive.unreadable`: it is damaged; the check sum stands at the end.
    """
    length = 0
    try:
        with archive.open(name=member.info) as stream:
            while piece := stream.read(CHUNK):
                length += len(piece)
                yield piece
        if length != member.info.file_size:
            raise EOFError("it is shorter than it says")
    except Exception as error:  # see open_archive; what the receiver of the pieces raises does not come through here
        raise _unreadable(label, member.sent, error) from error


class _Bounded(io.BufferedReader):
    """A file of which nobody reads more at once than a list of contents may take."""

    def __init__(self, raw: io.FileIO, label: str) -> None:
        super().__init__(raw)
        self.label = label

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size > MAX_DIRECTORY:
            raise _too_many(self.label)
        return super().read(MAX_DIRECTORY if size < 0 else size)


def _check(info: zipfile.ZipInfo, name: str, label: str) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused("archive.no_file", "holds a link or device:", label, name)
    if info.flag_bits & _ENCRYPTED:
        raise _refused("archive.encrypted", "is locked with a password, as", label, name)
    if info.compress_type not in _METHODS:
        raise _refused("archive.method", "is packed in a way that is not read here:", label, name)
    if info.file_size > max(MAX_RATIO * info.compress_size, SMALL):
        raise _refused("archive.ratio", "unpacks to far more than any pictures would:", label, name)


def _names(infos: list[zipfile.ZipInfo]) -> list[str]:
    """The names as they were meant. Without the mark of UTF-8 they are in the code page of the machine that packed them; which it
    was shows from all of them together."""
    foreign = [info.orig_filename for info in infos if not info.flag_bits & _UTF8 and not info.orig_filename.isascii()]
    encoding = _code_page(foreign)
    return [
        info.orig_filename if info.flag_bits & _UTF8 else info.orig_filename.encode("cp437").decode(encoding) for info in infos
    ]


def _code_page(names: list[str]) -> str:
    """The code page of names that were read as cp437."""
    raw = "\n".join(names).encode("cp437")
    try:
        encoding = decode_text(raw)[1]
        if encoding in ("utf-8", "cp932", "euc_jp", "gbk"):
            return encoding
    except DatasetError:
        pass
    if all(letter.isascii() or (letter.isalpha() and letter < "\u0370") for letter in "".join(names)):
        return "cp437"
    try:
        raw.decode("cp932")
        return "cp932"
    except UnicodeDecodeError:
        return "cp437"


def _common_top(paths: list[list[str]]) -> int:
    """How many folders are common to all and hold nothing but the next one."""
    depth = 0
    while paths and all(len(parts) > depth + 1 and parts[depth] == paths[0][depth] for parts in paths):
        if is_kohya(paths[0][depth]):
            break
        depth += 1
    return depth


def _unreadable(label: str, entry: str, error: Exception) -> DatasetError:
    reason = str(error) or type(error).__name__
    what = f"{shown(entry)!r} in {label!r} cannot be read: {reason}." if entry else f"{label!r} cannot be read: {reason}."
    return DatasetError(
        "archive.unreadable", what, "A whole .zip file.", "Pack it again; nothing of it was taken.",
        name=label, entry=shown(entry), reason=reason,
    )  # fmt: skip


def _too_many(label: str) -> DatasetError:
    return DatasetError(
        "archive.too_many", f"{label!r} holds too many files.", f"At most {MAX_ENTRIES:,}.",
        "Pack it in parts; nothing of it was taken.", name=label, most=MAX_ENTRIES,
    )  # fmt: skip


def _refused(code: str, why: str, label: str, entry: str) -> DatasetError:
    return DatasetError(
        code, f"{label!r} {why} {shown(entry)!r}.", "A .zip file with pictures and captions in it.",
        "Pack it again; nothing of it was taken.", name=label, entry=shown(entry),
    )  # fmt: skip
