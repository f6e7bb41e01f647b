"""Which files may come into a dataset, and the name each gets there. Knows names only, no disk.

Names are kept: any script, spaces, emoji, in composed Unicode (NFC). What some system could not store is refused, never changed.
A dataset has one level of folders, its concepts: of a deeper path the folder in Kohya's form (`20_robot`) stays, else the innermost.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath

from engine.datasets.captions import CAPTION_EXTENSIONS, MAX_CAPTION_BYTES
from engine.datasets.dataset_file import NAME as DATASET_FILE
from engine.datasets.decode import EXTENSIONS, FOREIGN_EXTENSIONS, MAX_BYTES
from engine.datasets.listing import kohya_name
from engine.errors import EngineError, PathError
from engine.workspace import DEVICES, INVISIBLE

PICTURES = (*EXTENSIONS, *FOREIGN_EXTENSIONS)
METADATA = (".json", ".jsonl")
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".zst")
MAX_METADATA_BYTES = 64 * 2**20
NAME_BYTES = 240
"""Of one part of a name; systems allow 255, and a number may still be added."""
SHOWN = 200
"""Characters of a name in a report."""

_REFUSED = re.compile(r'[:*?"<>|]')
_JOINERS = "\u200c\u200d"  # hold emoji, Persian and Indian words together
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Note:
    """A file that is worth a word: its name as it was sent, and why."""

    name: str
    reason: EngineError


def note(name: str, reason: EngineError) -> Note:
    """A note that can be sent and shown, whatever the name is made of."""
    return Note(shown(name), reason)


def shown(name: str) -> str:
    """A stranger's name without half characters, cut to `SHOWN`."""
    text = name.encode("utf-8", "replace").decode()
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def safe_parts(sent: str) -> list[str]:
    """The parts of a path as it was sent, NFC, split at slashes of both kinds.

    Raises:
        PathError: `incoming.unsafe_name`: it would lead out of the dataset, as no honest program writes it.
    """
    parts = unicodedata.normalize("NFC", sent).replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or _DRIVE.match(parts[0]) or "\0" in sent:
        name = shown(sent)
        raise PathError(
            "incoming.unsafe_name", f"The name {name!r} leads out of the dataset.",
            "A name such as pictures/a.png.", "Take this only from people you trust.", name=name,
        )  # fmt: skip
    return [part for part in parts if part not in ("", ".")]


def arrival_name(parts: list[str]) -> str:
    """The name in the dataset ("a.png" or "concept/a.png") of a file that was sent under `safe_parts`.

    Raises:
        PathError: `incoming.hidden`, `incoming.archive_inside`, `incoming.not_wanted`, `incoming.bad_name`, `incoming.own_folder`.
    """
    name = shown("/".join(parts))
    *folders, file = parts or [""]
    if is_hidden(parts):
        raise hidden(name)
    if not _wanted(parts):
        if file.lower().endswith(ARCHIVES):
            raise PathError(
                "incoming.archive_inside", f"{name!r} is an archive inside of what was sent.",
                todo="Send a .zip file by itself.", name=name,
            )  # fmt: skip
        raise PathError(
            "incoming.not_wanted", f"{name!r} is no picture, caption or metadata.",
            f"Endings of {', '.join((*PICTURES, *CAPTION_EXTENSIONS, *METADATA))}.", name=name,
        )  # fmt: skip
    kept = [next((part for part in reversed(folders) if is_kohya(part)), folders[-1]), file] if folders else [file]
    for part in kept:
        _check_part(part, name)
    if folders and kept[0].startswith("_"):
        what = f"{name!r} lies in a folder whose name begins with _; those are kept for the program."
        raise PathError("incoming.own_folder", what, todo="Rename the folder.", name=name)
    return "/".join(kept)


def is_hidden(parts: list[str]) -> bool:
    """Whether a system put it there for itself."""
    return any(part.startswith(".") for part in parts) or parts[:1] == ["__MACOSX"]


def hidden(name: str) -> PathError:
    return PathError("incoming.hidden", f"{name!r} is a hidden file of some system.", name=name)


def is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in PICTURES


def is_kohya(folder: str) -> bool:
    return "_" in folder and kohya_name(folder) is not None


def size_limit(name: str) -> int:
    """Bytes a file of this name may have."""
    suffix = PurePosixPath(name).suffix.lower()
    return MAX_BYTES if is_picture(name) else MAX_METADATA_BYTES if suffix in METADATA else MAX_CAPTION_BYTES


def look(name: str) -> str:
    """Names that look alike, or are one file on some system, have this in common."""
    visible = (letter for letter in unicodedata.normalize("NFC", name) if letter not in _JOINERS)
    return unicodedata.normalize("NFC", "".join(visible).casefold())


def _wanted(parts: list[str]) -> bool:
    suffix = PurePosixPath(parts[-1]).suffix.lower() if parts else ""
    return suffix in (*PICTURES, *CAPTION_EXTENSIONS, *METADATA) or parts == [DATASET_FILE]


def _check_part(part: str, name: str) -> None:
    """Raises PathError `incoming.bad_name`: what Windows refuses, what nobody sees, and what is too long."""
    stem = unicodedata.normalize("NFKC", part.split(".")[0].strip())
    if (
        _REFUSED.search(part)
        or part[-1] in ". "
        or DEVICES.fullmatch(stem)
        or any(unicodedata.category(letter) in INVISIBLE and letter not in _JOINERS for letter in part)
        or len(part.encode("utf-8", "replace")) > NAME_BYTES
    ):
        raise PathError(
            "incoming.bad_name", f"{name!r} is a name that not every system can store.",
            f'None of : * ? " < > |, no control characters, no dot or space at the end, no CON or NUL, at most {NAME_BYTES} bytes.',
            "Rename the file and send it again.", name=name, most=NAME_BYTES,
        )  # fmt: skip
