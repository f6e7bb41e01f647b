"""Writing captions into the files beside the pictures, so that all else in a file stays as it was.

A caption is the first line of its file. Its encoding, byte-order mark, line ends and further lines are kept, and what is
written is read back before it counts: a file that would read as something else next time is never made. Every write goes
through a `Journal` and names what it replaces, so nobody's edit is lost.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.datasets.captions import CAPTION_EXTENSIONS, MAX_CAPTION_BYTES
from engine.datasets.encodings import CONTROL, decode_text
from engine.datasets.journal import Entry, Journal, Write
from engine.datasets.listing import natural_key
from engine.datasets.steps import Tree, conflict
from engine.errors import DatasetError

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp932", "euc_jp", "gbk", "cp1252")
"""What a caption file can be converted to."""
NEW = CAPTION_EXTENSIONS[0]
_BREAK = re.compile(r"\r\n|\r|\n")
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def token(data: bytes | None) -> str:
    """What identifies the bytes of a caption file; "" for no file."""
    return "" if data is None else hashlib.blake2b(data, digest_size=16).hexdigest()


def caption_name(folder: Path, name: str) -> str:
    """The caption file of a picture: the one that is read in training, or a new `.txt`."""
    return caption_names(folder, [name])[name]


def caption_names(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Picture -> its caption file, as `caption_name` has it; each folder is listed once."""
    by_parent: dict[str, list[str]] = {}
    for name in names:
        by_parent.setdefault(name.rpartition("/")[0], []).append(name)
    found = {}
    for parent, inside in by_parent.items():
        files = _caption_files(folder / parent)
        for name in inside:
            stem = os.path.splitext(name)[0]
            file = files.get(unicodedata.normalize("NFC", stem.rpartition("/")[2]))
            found[name] = (f"{parent}/{file}" if parent else file) if file else stem + NEW
    return found


def _caption_files(place: Path) -> dict[str, str]:
    """Stem in NFC -> the first of its caption files, as `listing.caption_files` orders them, for 10,000 in 30 ms."""
    try:
        with os.scandir(place) as entries:
            named = [entry for entry in entries if entry.name.lower().endswith(CAPTION_EXTENSIONS) and entry.name[0] != "."]
            files = [entry.name for entry in named if entry.is_file()]
    except OSError:
        return {}
    found: dict[str, str] = {}
    for file in files:
        stem = unicodedata.normalize("NFC", os.path.splitext(file)[0])
        found[stem] = min(found[stem], file, key=_precedence) if stem in found else file
    return found


def _precedence(file: str) -> tuple:
    return CAPTION_EXTENSIONS.index(os.path.splitext(file)[1].lower()), natural_key(file)


def one_line(caption: str) -> str:
    """A caption as its file can hold it: Unicode NFC, on one line, without blanks around it."""
    return _BREAK.sub(" ", unicodedata.normalize("NFC", caption)).strip()


def with_caption(old: bytes | None, caption: str, encoding: str | None = None) -> bytes:
    """The content of a caption file with another caption.

    Args:
        old: the file's bytes; None for a new file, which is UTF-8.
        encoding: one of ENCODINGS to convert the file; None keeps its own. A file that cannot be decoded needs it.

    Raises:
        DatasetError: `caption.not_overwritten`, `caption.cannot_encode`, `caption.ambiguous`, `caption.too_long`,
            `caption.control_characters`, `caption.encoding`.
    """
    caption = one_line(caption)
    if CONTROL.search(caption):
        raise DatasetError(
            "caption.control_characters", "The caption contains control characters.", "A caption is plain text.",
            "Type it anew instead of pasting it.",
        )  # fmt: skip
    first, rest, mark, own = _parted(old or b"", readable=encoding is None)
    if old is not None and encoding is None and one_line(first) == caption:
        return old
    if encoding not in (None, *ENCODINGS):
        raise DatasetError(
            "caption.encoding", f"Captions cannot be saved as {encoding!r}.", f"One of {', '.join(ENCODINGS)}.",
            encoding=encoding, encodings=", ".join(ENCODINGS),
        )  # fmt: skip
    text, written = caption + rest, encoding or own
    try:
        new = text.encode(written) if encoding else mark + text.encode(own)
    except UnicodeEncodeError as error:
        character = error.object[error.start]
        raise DatasetError(
            "caption.cannot_encode", f"The encoding {written} of the caption file has no {character!r}.",
            todo="Convert the file to UTF-8.", encoding=written, character=character,
        ) from error  # fmt: skip
    if len(new) > MAX_CAPTION_BYTES:
        raise DatasetError(
            "caption.too_long", f"The caption would be {len(new)} bytes long.", f"At most {MAX_CAPTION_BYTES}.",
            "Shorten it.", bytes=len(new), limit=MAX_CAPTION_BYTES,
        )  # fmt: skip
    return _told_apart(new, text, written)


def _parted(old: bytes, readable: bool) -> tuple[str, str, bytes, str]:
    """First line, all behind it, byte-order mark and codec without mark. With `readable` off, nothing of what is unreadable."""
    try:
        text, encoding = decode_text(old)
    except DatasetError as error:
        if readable:
            raise DatasetError(
                "caption.not_overwritten", f"The caption file cannot be read, so it is not overwritten: {error.values['reason']}.",
                todo="Choose an encoding to replace it.", reason=error.values["reason"],
            ) from error  # fmt: skip
        return "", "", b"", "utf-8"
    mark, codec = next(((mark, codec) for mark, codec in _MARKS.items() if old.startswith(mark)), (b"", encoding))
    first = _BREAK.split(text, maxsplit=1)[0]
    return first, text[len(first) :], mark, codec


def _told_apart(new: bytes, text: str, encoding: str) -> bytes:
    """The bytes, if reading finds the same text in them; what only a mark makes certain as UTF-8 gets one."""
    for data in (new, codecs.BOM_UTF8 + new) if encoding == "utf-8" else (new,):
        try:
            if decode_text(data)[0] == text:
                return data
        except DatasetError:
            continue
    raise DatasetError(
        "caption.ambiguous", f"Saved as {encoding}, this caption could not be told from text in other encodings.",
        todo="Convert the file to UTF-8.", encoding=encoding,
    )  # fmt: skip


def save_caption(journal: Journal, name: str, caption: str, token: str, encoding: str | None = None) -> Entry | None:
    """Save the caption of one picture; None when that changes nothing.

    Args:
        token: of the file as the caption was last shown; "" for none.

    Raises:
        DatasetError: `caption.changed` (values: name, theirs, token) when the file is another by now, `dataset.conflict`
            when the picture has gone, and as `with_caption` and `Journal.apply`.
    """
    return save_captions(journal, {name: caption}, "caption", {"name": name}, {name: token}, encoding)


def save_captions(
    journal: Journal,
    captions: Mapping[str, str],
    label: str,
    values: Mapping[str, Any] | None = None,
    tokens: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> Entry | None:
    """Save the captions of many pictures as one operation; None when that changes nothing. Raises as `save_caption` does.

    Args:
        captions: picture -> caption.
        label, values: for the history, see `Journal.apply`.
        tokens: picture -> token of its caption file as the edit was made from; None takes the files as they are.
    """
    tree, steps = Tree(journal.folder), []
    pictures: dict[str, str] = {}
    for name, file in caption_names(journal.folder, captions).items():
        old = tree.read(file)
        if tokens is not None and token(old) != tokens.get(name, ""):
            raise _changed(name, old)
        if not tree.exists(name):
            raise conflict(name)
        new = _with_caption(name, old, captions[name], encoding)
        if new != (old or b""):
            steps.append(Write(file, old, new))
            pictures[file] = name
    if not steps:
        return None
    try:
        return journal.apply(label, steps, values)
    except DatasetError as error:
        if error.code != "dataset.conflict":
            raise
        file = error.values["name"]
        raise _changed(pictures[file], tree.read(file)) from error


def _with_caption(name: str, old: bytes | None, caption: str, encoding: str | None) -> bytes:
    try:
        return with_caption(old, caption, encoding)
    except DatasetError as error:
        raise DatasetError(error.code, f"{name!r}: {error.what}", error.expected, error.todo, **error.values, name=name) from None


def _changed(name: str, data: bytes | None) -> DatasetError:
    theirs = _parted(data or b"", readable=False)[0].strip()
    return DatasetError(
        "caption.changed", f"The caption of {name!r} has been changed by something else meanwhile; it is now {theirs!r}.",
        "Nothing was written.", "Compare the two and save again.", name=name, theirs=theirs, token=token(data),
    )  # fmt: skip
