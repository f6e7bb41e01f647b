"""What a worker does while nobody wants anything: it looks into new base models, so that lists are quick, and hashes them.

A piece at a time: a job never waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from engine import library
from engine.errors import ModelError
from engine.file_notes import FileNotes
from engine.formats.hashes import hash_in_pieces, hashed_file
from engine.workspace import Workspace

SLICE_SECONDS = 0.2
"""Of work between two looks for a job."""
LOOK_SECONDS = 0.2
"""Of reading headers at once."""
AGAIN_SECONDS = 60.0
"""Between two looks for new models, once all are hashed."""


class Hasher:
    """Goes through the models of a workspace, and from time to time looks for new ones."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._work: Iterator[None] | None = None
        self._rest_until = 0.0

    def go_on(self) -> bool:
        """Hash for a moment; whether there is more to do at once."""
        began = time.monotonic()
        if self._work is None and began < self._rest_until:
            return False
        self._work = self._work or self._pieces()
        for _ in self._work:
            if time.monotonic() - began > SLICE_SECONDS:
                return True
        self._work, self._rest_until = None, time.monotonic() + AGAIN_SECONDS
        return False

    def _pieces(self) -> Iterator[None]:
        cards = library.models(self.workspace, LOOK_SECONDS)
        for _ in cards:
            if not any(card.unread for card in cards):
                break
            yield
            cards = library.models(self.workspace, LOOK_SECONDS)
        for card in cards:
            if not card.problem and not card.sha256:
                with suppress(OSError, ModelError):  # it has gone
                    yield from hash_in_pieces(hashed_file(card.path), FileNotes(self.workspace.cache))
