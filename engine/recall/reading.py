"""A picture's text while it becomes settings: what it gives, what is set by now, what is told of each field."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from engine.config.field import fields
from engine.config.generate import GenerateConfig
from engine.config.load import nested, validate
from engine.errors import ConfigError
from engine.recall.at_hand import AdaptersAtHand, Found, bare
from engine.recall.report import Fate, Line
from engine.workspace import Workspace

DECLARED = {field.path: field for field in fields(GenerateConfig)}


class Reading:
    """A text on its way.

    Attributes:
        given: the parameters by their names in the picture.
        settings: by path.
    """

    def __init__(self, given: Mapping[str, str], workspace: Workspace) -> None:
        self.given, self.workspace = given, workspace
        self.settings: dict[str, Any] = {}
        self.report: list[Line] = []

    @cached_property
    def adapters(self) -> AdaptersAtHand:
        return AdaptersAtHand(self.workspace)

    def tell(self, name: str, value: str, fate: Fate, reason: str = "", became: str = "") -> None:
        self.report.append(Line(name, value, fate, reason, became))

    def put(self, name: str, value: str, settings: Mapping[str, Any], fate: Fate = "taken", reason: str = "") -> None:
        """Make a value these settings, by path, if their fields allow it."""
        try:
            validate(GenerateConfig, nested(settings))
        except ConfigError:
            self.tell(name, value, "unknown", "bounds")
        else:
            self.settings |= settings
            self.tell(name, value, fate, reason, ", ".join(map(str, settings.values())) if fate == "translated" else "")

    def put_file(self, name: str, title: str, digest: str, path: str, found: Found | None) -> None:
        """The same for a file that was looked for by its title and hash."""
        value = with_hash(title, digest)
        if found is None:
            self.tell(name, value, "unknown", "absent_file")
        elif found.by == "other":
            self.put(name, value, {path: found.name}, "translated", "other_content")
        elif bare(found.name.rpartition("/")[2]) != bare(title.rpartition("/")[2]):
            self.put(name, value, {path: found.name}, "translated", "renamed")
        else:
            self.put(name, value, {path: found.name})


def with_hash(title: str, digest: str) -> str:
    """A file as a report names it."""
    return f"{title} [{digest}]" if digest else title
