"""Findings about files: what cannot be read, and what is not what its name says. What `scan` has found is told on here."""

from __future__ import annotations

from pathlib import Path

from engine.datasets.decode import EXTENSIONS
from engine.datasets.doctor.case import Case
from engine.datasets.doctor.finding import FINDINGS, Finding, finding
from engine.workspace import stamp

PLAIN_EXTENSIONS = {format: extension for extension, format in reversed(EXTENSIONS.items())}
"""Pillow's name of a format -> the extension that is usual for it."""


def scanned(case: Case) -> list[Finding]:
    """What `engine.datasets.scan` found. A finding about a caption file names the picture."""
    pictures = {picture.caption_path: picture.path for picture in case.dataset.pictures if picture.caption_path}
    found = []
    for each in case.dataset.findings:
        name = case.name(pictures.get(each.path, each.path))
        if each.code == "picture.unreadable" and is_empty(each.path):
            found.append(
                finding(
                    "picture.empty",
                    name,
                    f"{each.path.name!r} is empty: nothing was ever copied into it, or the disk was full. It is left out.",
                    name=each.path.name,
                )
            )
        else:
            kind = FINDINGS[each.code]
            found.append(Finding(each.code, kind.severity, name, each.text, each.values, remedy=kind.remedy))
    return found


def is_empty(path: Path) -> bool:
    return path.is_file() and stamp(path)[0] == 0


def damaged(case: Case) -> list[Finding]:
    """Files that begin as a picture and do not go on as one."""
    return [
        finding(
            "picture.damaged", case.name(path),
            f"{path.name!r} is damaged: {look.problem}. Training leaves it out. Copy or download it again.", name=path.name, reason=look.problem,
        )
        for path, look in case.looks.items() if look.problem
    ]  # fmt: skip


def wrong_extension(case: Case) -> list[Finding]:
    """Files of another format than their names say."""
    found = []
    for name, picture, look in case.seen:
        if EXTENSIONS.get(picture.path.suffix.lower()) != look.format:
            right = PLAIN_EXTENSIONS[look.format]
            text = (
                f"{picture.path.name!r} is a {look.format} file. Training here reads it all the same; "
                f"other programs may refuse it. Its name should end in {right}."
            )
            found.append(
                finding("picture.wrong_extension", name, text, name=picture.path.name, format=look.format, extension=right)
            )
    return found
