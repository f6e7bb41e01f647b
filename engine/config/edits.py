"""What can be done to many captions at once: one model of options per kind of edit, told apart by `kind`.

Tags are what stands between the commas of a caption, and are told apart without regard to case.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import Field as PydanticField

from engine.config.field import Section, Ui

Text = Annotated[str, MaxLen(10_000)]
Short = Annotated[str, MaxLen(1000)]


class KeepOptions(Section):
    keep: Annotated[int, Ge(0), Le(1000), Ui(level="basic", step=1)] = 1
    """Tags at the front that stay where they are, the trigger word for example."""


class AddOptions(KeepOptions):
    """Add tags to captions that lack them."""

    kind: Literal["add"] = "add"
    """What is done."""
    tags: Annotated[Text, MinLen(1), Ui(level="basic")]
    """Tags, with commas between."""
    position: Annotated[Literal["front", "end"], Ui(level="basic")] = "end"
    """In front, behind the tags that stay there, or at the end."""


class RemoveOptions(Section):
    """Remove tags."""

    kind: Literal["remove"] = "remove"
    """What is done."""
    tags: Annotated[Text, MinLen(1), Ui(level="basic")]
    """Tags, with commas between."""


class ReplaceOptions(Section):
    """Find and replace."""

    kind: Literal["replace"] = "replace"
    """What is done."""
    find: Annotated[Short, MinLen(1), Ui(level="basic")]
    """What is looked for."""
    replacement: Annotated[Short, Ui(level="basic")] = ""
    """What stands there instead. Empty takes it out."""
    whole_tag: Annotated[bool, Ui(level="basic")] = False
    """Only tags that are just this, not words inside longer tags."""
    case: Annotated[bool, Ui(level="advanced")] = False
    """Capital and small letters differ."""
    regex: Annotated[bool, Ui(level="advanced")] = False
    """A regular expression as in Python; \\1 in the replacement is what its first group found."""


class TriggerOptions(Section):
    """Put the trigger word first."""

    kind: Literal["trigger"] = "trigger"
    """What is done."""
    trigger: Annotated[Text, MinLen(1), Ui(level="basic")]
    """The trigger word."""


class SortOptions(KeepOptions):
    """Bring the tags in order. Sentences are left alone."""

    kind: Literal["sort"] = "sort"
    """What is done."""
    order: Annotated[Literal["alphabetical", "frequency"], Ui(level="basic")] = "alphabetical"
    """By the alphabet, or those first that most pictures have."""


class DeduplicateOptions(Section):
    """Remove tags that a caption has already."""

    kind: Literal["deduplicate"] = "deduplicate"
    """What is done."""


class SpacesOptions(Section):
    """Write underscores as spaces. Faces such as ^_^ stay as they are."""

    kind: Literal["spaces"] = "spaces"
    """What is done."""
    keep: Annotated[int, Ge(0), Le(1000), Ui(level="basic", step=1)] = 0
    """Tags at the front that keep their underscores, a trigger word for example."""


class ShuffleOptions(KeepOptions):
    """Bring the tags in a random order, another one for each picture. Sentences are left alone."""

    kind: Literal["shuffle"] = "shuffle"
    """What is done."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1), Ui(level="advanced", step=1)] = 0
    """The same number gives the same order."""


class SetOptions(Section):
    """Give every picture the same caption."""

    kind: Literal["set"] = "set"
    """What is done."""
    caption: Annotated[Text, Ui(level="basic", widget="lines")] = ""
    """The caption."""


Edit = Annotated[
    AddOptions
    | RemoveOptions
    | ReplaceOptions
    | TriggerOptions
    | SortOptions
    | DeduplicateOptions
    | SpacesOptions
    | ShuffleOptions
    | SetOptions,
    PydanticField(discriminator="kind"),
]
EDITS: dict[str, type[Section]] = {
    "add": AddOptions, "remove": RemoveOptions, "replace": ReplaceOptions, "trigger": TriggerOptions, "sort": SortOptions,
    "deduplicate": DeduplicateOptions, "spaces": SpacesOptions, "shuffle": ShuffleOptions, "set": SetOptions,
}  # fmt: skip
"""Kind -> its options."""


class EditConfig(Section):
    """One edit of many captions."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of this file."""
    edit: Edit
    """What is done, and how."""
