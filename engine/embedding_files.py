"""Which textual-inversion embeddings are at hand. Looks at the names of files only."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from engine.workspace import Workspace

ENDINGS = (".safetensors", ".pt", ".bin")
"""Of files that hold an embedding; of two files of one name in one folder, the first of these is taken."""


def embedding_files(workspace: Workspace) -> dict[str, Path]:
    """The word that calls an embedding in a prompt, which is its file's name without ending -> the file, in order of the words.

    Sub-folders are looked through and are no part of the word, as in AUTOMATIC1111. Of several files whose words differ by case
    at most, the first counts: that of the workspace before that of `--embeddings-dir`.
    """
    found: dict[str, tuple[str, Path]] = {}
    for folder in workspace.embedding_folders:
        for file in sorted(_files(folder), key=lambda file: (file.parent, file.stem, ENDINGS.index(file.suffix.lower()))):
            word = unicodedata.normalize("NFC", file.stem)
            found.setdefault(word.casefold(), (word, file))
    return dict(sorted(found.values(), key=lambda each: each[0].casefold()))


def _files(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    ]
