"""Which adapter file the name in a tag means. Knows names only, reads no file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from engine.errors import PromptError

STAGES: tuple[Callable[[str, str | None], str | None], ...] = (
    lambda path, alias: path,
    lambda path, alias: path.rpartition("/")[2],
    lambda path, alias: alias,
)
FOLDS = (str, str.casefold)
MOST_ADVICE = 10
"""Unknown names of which the nearest known ones are looked for; among thousands that takes a while."""


class AdapterNames:
    """The names that the files of a library answer to, put in order once for all tags of a prompt.

    Args:
        library: path below the adapter folder without its extension -> `ss_output_name` of the file, if it has one.
    """

    def __init__(self, library: Mapping[str, str | None]) -> None:
        self._stages: list[tuple[Callable[[str], str], dict[str, list[str]]]] = []
        for fold in FOLDS:
            for answers in STAGES:
                table: dict[str, list[str]] = {}
                for path, alias in library.items():
                    if told := answers(path, alias):
                        table.setdefault(fold(told), []).append(path)
                self._stages.append((fold, table))
        self._advice = 0

    def find(self, name: str) -> str:
        """The path of the file that `name` stands for.

        Tried in this order, first exactly and then without regard to case: the path, the file's name, the name it was trained
        under. Two files that answer to a name at the same stage are an error, never a guess.

        Args:
            name: as typed in the tag; sub-folders with `/`.

        Raises:
            PromptError: `prompt.adapter_unknown` with the nearest names, or `prompt.adapter_ambiguous` with the candidates.
        """
        wanted = name.strip().replace("\\", "/")
        for fold, table in self._stages:
            found = table.get(fold(wanted), [])
            if len(found) == 1:
                return found[0]
            if found:
                shown = ", ".join(sorted(found))
                raise PromptError(
                    "prompt.adapter_ambiguous", f"{name!r} may mean {shown}.", "One file.", "Write it with its folder.",
                    name=name, candidates=shown,
                )  # fmt: skip
        near = ", ".join(self._nearest(wanted))
        raise PromptError(
            "prompt.adapter_unknown", f"There is no adapter named {name!r}.",
            f"The nearest names are {near}." if near else "", "Correct the name in the tag.", name=name, nearest=near,
        )  # fmt: skip

    def _nearest(self, wanted: str) -> list[str]:
        """Up to three names that look alike, the likest first."""
        self._advice += 1
        if self._advice > MOST_ADVICE:
            return []
        exact = [told for _, table in self._stages[: len(STAGES)] for told in table]
        folded = {told.casefold(): told for told in sorted(exact)}
        return [folded[key] for key in difflib.get_close_matches(wanted.casefold(), folded, n=3, cutoff=0.5)]


def find_adapter(name: str, library: Mapping[str, str | None]) -> str:
    """The path in a library that one name stands for; see `AdapterNames`, which raises the same."""
    return AdapterNames(library).find(name)
