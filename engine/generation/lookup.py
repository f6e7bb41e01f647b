"""Which adapter file the name in a tag means. Knows names only, reads no file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from engine.errors import PromptError


def find_adapter(name: str, library: Mapping[str, str | None]) -> str:
    """The file that `name` stands for.

    Tried in this order, first exactly and then without regard to case: the path, the file's name, the name it was trained
    under. Two files that answer to a name at the same stage are an error, never a guess.

    Args:
        name: as typed in the tag; sub-folders with `/`.
        library: path below the adapter folder without its extension -> `ss_output_name` of the file, if it has one.

    Raises:
        PromptError: `prompt.adapter_unknown` with the nearest names, or `prompt.adapter_ambiguous` with the candidates.
    """
    wanted = name.strip().replace("\\", "/")
    for fold in (str, str.casefold):
        for answers in STAGES:
            found = [path for path, alias in library.items() if (told := answers(path, alias)) and fold(told) == fold(wanted)]
            if len(found) == 1:
                return found[0]
            if found:
                shown = ", ".join(sorted(found))
                raise PromptError(
                    "prompt.adapter_ambiguous", f"{name!r} may mean {shown}.", "One file.", "Write it with its folder.",
                    name=name, candidates=shown,
                )  # fmt: skip
    names = sorted({told for path, alias in library.items() for answers in STAGES if (told := answers(path, alias))})
    folded = {told.casefold(): told for told in names}
    near = ", ".join(folded[key] for key in difflib.get_close_matches(wanted.casefold(), folded, n=3, cutoff=0.5))
    raise PromptError(
        "prompt.adapter_unknown", f"There is no adapter named {name!r}.",
        f"The nearest names are {near}." if near else "", "Correct the name in the tag.", name=name, nearest=near,
    )  # fmt: skip


STAGES: tuple[Callable[[str, str | None], str | None], ...] = (
    lambda path, alias: path,
    lambda path, alias: path.rpartition("/")[2],
    lambda path, alias: alias,
)
