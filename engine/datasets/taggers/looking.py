"""A tagger together with what it has seen before: it is loaded when a picture is new to it, and not at all where none is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from engine.config.caption import TaggerOptions
from engine.datasets.decode import decode_picture
from engine.datasets.taggers.base import Tagger, Told
from engine.datasets.taggers.memory import Memory
from engine.datasets.taggers.place import identity
from engine.datasets.taggers.registry import tagger_module


class Looking:
    """A context, whose end frees the tagger's memory.

    Args:
        place: folder of the tagger.
        cache: folder of what was seen.
        on_loading: called before the tagger is loaded, which may take minutes.
    """

    def __init__(self, options: TaggerOptions, place: Path, device: str, cache: Path, on_loading: Callable[[], None]) -> None:
        self.options, self.place, self.device, self.on_loading = options, place, device, on_loading
        self._module = tagger_module(options.kind)
        self._memory = Memory(cache, identity(place), {name: getattr(options, name) for name in self._module.SEEN_BY})
        self._stack = ExitStack()
        self._tagger: Tagger | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._tagger = None
        self._stack.close()

    def told(self, content: bytes, name: str) -> Told:
        """What is in a picture file with this content.

        Raises:
            DatasetError: `picture.unreadable`, `picture.too_large`.
            EngineError: the tagger cannot be loaded.
        """
        told = self._memory.get(content)
        if told is None:
            told = self._ready().look(decode_picture(content, name))
            self._memory.put(content, told)
        return told

    def _ready(self) -> Tagger:
        if self._tagger is None:
            self.on_loading()
            self._tagger = self._stack.enter_context(self._module.open_tagger(self.options, self.place, self.device))
        return self._tagger
