"""Prompts that choose for themselves: `{red|blue}`, `{2$$a|b|c}`, `{0.3::rare|usual}` and lists in files, `__colours__`.

Knows text, numbers and a folder of lists; it is read before tags and everything else of the prompt language. Braces that hold
no `|` directly inside them are text, a pair of square brackets protects what is inside it, and a backslash one character.
"""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import PathError, PromptError
from engine.workspace import safe_join

MAX_LISTS = 1000
"""How many times lists may be drawn from for one prompt: lists can name each other, and themselves."""
MAX_WEIGHT = 1e6
TOKEN = re.compile(r"\\.|[{}|\[\]]|__(?=[^\W_])[\w\-./ ]+?__|[^\\{}|\[\]_]+|[\\_]", re.DOTALL)
COUNT = re.compile(r"\s*(\d{1,4})\$\$")
WEIGHT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*::", re.ASCII)

Node = Any  # str, Choice, List or a list of them


class Choice(NamedTuple):
    count: int
    options: list[Node]
    weights: list[float]


class List(NamedTuple):
    name: str


class Bracket(NamedTuple):
    """An open bracket: where it and the separators directly inside it stand in the list of nodes."""

    opening: str
    start: int
    separators: list[int]


def expand(prompt: str, seed: int, folder: Path, on_problem: Callable[[PromptError], None] | None = None) -> str:
    """The prompt with everything chosen; the same for the same seed and lists.

    `{2$$a|b|c}` takes two different ones, all where there are fewer, and joins them with ", ". An option is as likely as its
    weight says, `{3::a|b}`, 1 where none is given. `__colours__` is a line of `colours.txt`, `__clothes/hats__` one of
    `clothes/hats.txt`; blank lines and those that begin with `#` do not count, and a line may choose again.

    Args:
        folder: where the lists are.
        on_problem: called with `prompt.list_unknown` and `prompt.list_unreadable`; such a name stays text.

    Raises:
        PromptError: `prompt.list_loop`.
    """
    draw, lists = random.Random(seed), Lists(folder, on_problem)
    pieces: list[str] = []
    waiting: list[Node] = [_parse(prompt)]
    drawn = 0
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            pieces.append(node)
        elif isinstance(node, Choice):
            waiting.append(_choose(node, draw))
        elif isinstance(node, List):
            lines = lists.lines(node.name)
            drawn += bool(lines)
            if drawn > MAX_LISTS:
                raise _loop(node.name)
            waiting.append(_parse(draw.choice(lines)) if lines else f"__{node.name}__")
        else:
            waiting.extend(reversed(node))
    return "".join(pieces)


class Lists:
    """The lists of a folder, each read once."""

    def __init__(self, folder: Path, on_problem: Callable[[PromptError], None] | None) -> None:
        self.folder, self._on_problem = folder, on_problem
        self._read: dict[str, list[str]] = {}

    def lines(self, name: str) -> list[str]:
        """What can be drawn; none, and a problem, where there is no such list."""
        if name not in self._read:
            try:
                self._read[name] = self._find(name)
            except PromptError as problem:
                self._read[name] = []
                if self._on_problem:
                    self._on_problem(problem)
        return self._read[name]

    def _find(self, name: str) -> list[str]:
        """Raises PromptError: `prompt.list_unknown`, `prompt.list_unreadable`."""
        try:
            file = safe_join(self.folder, f"{name.strip()}.txt")
            written = file.read_text("utf-8-sig") if file.is_file() else None
        except (PathError, OSError):
            written = None
        except UnicodeDecodeError as error:
            raise _unreadable(name, "it is not in UTF-8") from error
        if written is None:
            raise _unknown(name, self.folder)
        lines = [line.strip() for line in written.splitlines()]
        if kept := [line for line in lines if line and not line.startswith("#")]:
            return kept
        raise _unreadable(name, "it is empty")


def _parse(text: str) -> list[Node]:
    """A text as strings, Choices and Lists.

    Everything is text until its brace closes and means something; then the nodes since the opening become one. Nothing
    recurses, so ten thousand nested braces are no more than ten thousand side by side.
    """
    nodes: list[Node] = []
    stack: list[Bracket] = []
    braces = 0
    for token in TOKEN.findall(text):
        if token in ("{", "["):
            stack.append(Bracket(token, len(nodes), []))
            braces += token == "{"
        elif token == "|" and stack:
            stack[-1].separators.append(len(nodes))
        elif token == "]" and stack and stack[-1].opening == "[":
            stack.pop()
        elif token == "}" and braces:
            braces -= 1
            start, separators = _close(stack)
            if separators:
                nodes[start:] = [_choice(nodes, start, separators)]
                continue
        nodes.append(List(token[2:-2]) if token.startswith("__") else token)
    return nodes


def _close(stack: list[Bracket]) -> tuple[int, list[int]]:
    """Where the last open brace and its separators are; square brackets left open in it were text."""
    closed = [stack.pop()]
    while closed[-1].opening != "{":
        closed.append(stack.pop())
    return closed[-1].start, [place for bracket in reversed(closed) for place in bracket.separators]


def _choice(nodes: list[Node], start: int, separators: list[int]) -> Choice:
    """What a pair of braces means that closes after the last node."""
    edges = [start, *separators, len(nodes)]
    options = [nodes[left + 1 : right] for left, right in pairwise(edges)]
    count, weights = _take(COUNT, options[0]), [_take(WEIGHT, option) for option in options]
    return Choice(int(count or 1), options, [min(float(weight or 1), MAX_WEIGHT) for weight in weights])


def _take(pattern: re.Pattern, option: list[Node]) -> str | None:
    """Cut what matches off the beginning of an option."""
    found = pattern.match(option[0]) if option and isinstance(option[0], str) else None
    if not found:
        return None
    option[0] = option[0][found.end() :]
    return found[1]


def _choose(choice: Choice, draw: random.Random) -> list[Node]:
    left, weights = list(choice.options), list(choice.weights)
    chosen: list[Node] = []
    while left and len(chosen) < 2 * choice.count:
        place = draw.choices(range(len(left)), weights if any(weights) else None)[0]
        chosen += [left.pop(place), ", "]
        weights.pop(place)
    return chosen[:-1]


def _near(name: str, known: Sequence[str]) -> str:
    return ", ".join(difflib.get_close_matches(name.strip(), known, n=3, cutoff=0.5))


def _unknown(name: str, folder: Path) -> PromptError:
    near = _near(name, [file.relative_to(folder).with_suffix("").as_posix() for file in sorted(folder.rglob("*.txt"))])
    return PromptError(
        "prompt.list_unknown", f"There is no list {name!r}; its name stays in the prompt.",
        f"The nearest names are {near}." if near else f"A file {name}.txt in the folder wildcards.",
        "Correct the name, or write the list, an entry a line.", name=name, nearest=near,
    )  # fmt: skip


def _unreadable(name: str, reason: str) -> PromptError:
    return PromptError(
        "prompt.list_unreadable", f"Nothing can be chosen from the list {name!r}: {reason}.", "A text file with an entry a line.",
        "Write it anew as UTF-8.", name=name, reason=reason,
    )  # fmt: skip


def _loop(name: str) -> PromptError:
    return PromptError(
        "prompt.list_loop", f"The prompt draws from lists more than {MAX_LISTS} times, last from {name!r}.",
        "Lists that do not name themselves, nor each other in a circle.", "Correct the lists, or write a shorter prompt.",
        name=name, limit=MAX_LISTS,
    )  # fmt: skip
