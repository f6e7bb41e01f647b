"""A layout written down as lines: a module of the network, the module of the file, and what share of it.

`{}` stands for a number, the same on both sides, in the same order. A line means every tensor of its module: `.weight`, `.bias`,
`.scale`. Layouts whose numbers have to be calculated (the U-Net, the VAE's decoder) have functions instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.formats.layouts.stored import Change, Place


@dataclass(frozen=True)
class Line:
    """Attributes:
    own, file: module paths with `{}` for numbers; a path that names a tensor of no module (a parameter) is written with its name.
    share, change: as in `Place`; `change` is made to weights only.
    leaf: name of the tensors' last part in the file, where it is another one ("scale" for "weight").
    """

    own: str
    file: str
    share: tuple[int, int, int] | None = None
    change: Change = ""
    leaf: str = ""


class Table:
    """A `KeyMap` of lines."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = tuple(lines)

    def places(self, keys: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        found = {}
        for key in keys:
            module, leaf = _split(key)
            line, numbers = _match(self._own, module) or _match(self._own, key) or (None, ())
            if line is None:
                raise KeyError(key)
            whole = line[0].fullmatch(module) is None
            found[key] = _place(line[1], numbers, "" if whole else leaf)
        return found

    def find(self, stored: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        found = {}
        for key in stored:
            module, leaf = _split(key)
            for pattern, line in self._file:
                for name, rest in ((module, leaf), (key, "")):
                    if named := pattern.fullmatch(name):
                        own_leaf = "weight" if rest and rest == line.leaf else rest
                        own = _fill(line.own, named.groups()) + (f".{own_leaf}" if rest else "")
                        found[own] = _place(line, named.groups(), own_leaf)
                        break
        return found

    @cached_property
    def _own(self) -> list[tuple[re.Pattern[str], Line]]:
        return [(_pattern(line.own), line) for line in self.lines]

    @cached_property
    def _file(self) -> list[tuple[re.Pattern[str], Line]]:
        return [(_pattern(line.file), line) for line in self.lines]


Compiled = tuple[re.Pattern[str], Line]


def _match(lines: list[Compiled], path: str) -> tuple[Compiled, tuple[str, ...]] | None:
    for line in lines:
        if named := line[0].fullmatch(path):
            return line, named.groups()
    return None


def _place(line: Line, numbers: tuple[str, ...], leaf: str) -> Place:
    stored = line.leaf if line.leaf and leaf == "weight" else leaf
    change = line.change if leaf in ("weight", "") or line.change == "swapped" else ""
    return Place(_fill(line.file, numbers) + (f".{stored}" if leaf else ""), line.share, change)


def _fill(path: str, numbers: tuple[str, ...]) -> str:
    return path.format(*numbers)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\{\}", r"(\d+)"))


def _split(key: str) -> tuple[str, str]:
    module, _, leaf = key.rpartition(".")
    return module, leaf
