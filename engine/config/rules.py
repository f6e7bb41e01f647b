"""Exceptions for some layers, a line each: `*.attn2.*: rank=32`, `unet.down_blocks.*: off`, `*.ff.*: lokr factor=8`.

A pattern (of `fnmatch`, case-sensitive) is compared with the component and path of a layer, `unet.mid_block.attentions.0.proj_in`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.config.text import parse

OFF = "off"


@dataclass(frozen=True)
class Rule:
    """One line.

    Attributes:
        kind: "off", an algorithm, or "" for the run's own.
        settings: fields of the algorithm's options.
    """

    pattern: str
    kind: str
    settings: dict[str, Any]


def parse_rule(line: str) -> Rule:
    """Raises:
    ValueError: the line is no rule; the text says why.
    """
    pattern, colon, rest = (part.strip() for part in line.partition(":"))
    words = rest.split()
    if not (pattern and colon and words):
        raise ValueError(f"{line!r} is not of the form `pattern: off` or `pattern: algorithm field=value`")
    kind = "" if "=" in words[0] else words.pop(0)
    settings = {}
    for word in words:
        field, equals, value = word.partition("=")
        if not (field and equals and value):
            raise ValueError(f"{word!r} in {line!r} is not of the form field=value")
        settings[field] = parse(value)
    if kind == OFF and settings:
        raise ValueError(f"{line!r} switches layers off and sets something too")
    return Rule(pattern, kind, settings)


def check_rules(lines: list[str]) -> None:
    """Raises:
    ValueError: the first line that is no rule. Whether its fields exist is seen when it is laid on the options.
    """
    for line in lines:
        parse_rule(line)
