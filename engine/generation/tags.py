"""Adapter tags in a prompt: `<lora:name>`, `<lora:name:0.8>`, `<lora:name:0.5:1.2:lbw=OUTD:start=5>`.

Reads text only. It does not know which adapter files exist (see `lookup`) or how one is applied.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from engine.errors import PromptError
from engine.generation.blocks import parse_blocks

KINDS = ("lora", "lyco")
OPENING = re.compile(r"<(\w+):")
POSITIONAL = ("te", "unet", "dyn")

Steps = tuple[tuple[float, float], ...]  # ((strength, position), ...): position <= 1 is a fraction of the steps


@dataclass(frozen=True, slots=True)
class AdapterTag:
    """One tag. A tag with a `problem` is not in force; `notes` tell what was ignored in one that is.

    Args:
        kind: as typed, "lora" or "lyco" (the same thing) unless there is a problem.
        name: as typed, without surrounding spaces.
        text_encoder: strength there. With stepwise strengths, the one furthest from 0.
        unet: strength in the U-Net or transformer, by the same rule.
        options: "dyn" (rank to use), "lbw" (preset name or block strengths), "start" and "stop" (int: a step, float: a fraction
            of the steps), "text_encoder_steps" and "unet_steps" (stepwise strengths).
        source: the tag as it stood in the prompt.
        position: where it stood, as an index into the text without tags.
    """

    kind: str
    name: str
    text_encoder: float = 1.0
    unet: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    position: int = 0
    problem: PromptError | None = None
    notes: tuple[PromptError, ...] = ()

    def strengths(self, step: int, steps: int) -> tuple[float, float]:
        """(text encoder, U-Net) strength at `step` of `steps`, counted from 1; 0 outside `start` to `stop`."""
        first, last = self.options.get("start", 0), self.options.get("stop", steps)
        first = int(first * steps) + 1 if isinstance(first, float) else first
        last = int(last * steps) if isinstance(last, float) else last
        if not first <= step <= last:
            return 0.0, 0.0
        text_encoder, unet = self.options.get("text_encoder_steps"), self.options.get("unet_steps")
        return (
            interpolate(text_encoder, step, steps) if text_encoder else self.text_encoder,
            interpolate(unet, step, steps) if unet else self.unet,
        )


def interpolate(points: Steps, step: int, steps: int) -> float:
    """Strength at `step` (from 1), linear between the points and constant outside them."""
    last = max(steps - 1, 1)
    known = sorted((position if position <= 1 else (position - 1) / last, strength) for strength, position in points)
    place = (step - 1) / last
    right = bisect_right(known, place, key=lambda point: point[0])
    if right in (0, len(known)):
        return known[0 if right == 0 else -1][1]
    (start, low), (end, high) = known[right - 1], known[right]
    return low + (high - low) * (place - start) / (end - start)


def parse_tags(prompt: str) -> tuple[str, list[AdapterTag]]:
    """Take the tags out of a prompt.

    A tag is `<`, a word, `:`, at least one character, up to the next `>`; anything else stays text. Tags of unknown kinds are
    taken out as well and carry a problem. Text around a tag, spaces and commas included, stays as it is.

    Returns:
        The text without tags and the tags in order. Nothing raises; see `AdapterTag.problem`.
    """
    pieces, tags, copied, length = [], [], 0, 0
    for opening in OPENING.finditer(prompt):
        start, inside = opening.span()
        if start < copied:
            continue  # inside the tag before
        close = prompt.find(">", inside)
        if close < 0:
            break
        if close == inside:
            continue
        pieces.append(prompt[copied:start])
        length += start - copied
        copied = close + 1
        tags.append(_read_tag(opening[1], prompt[inside:close], prompt[start:copied], length))
    pieces.append(prompt[copied:])
    return "".join(pieces), tags


def _read_tag(kind: str, inside: str, source: str, position: int) -> AdapterTag:
    name, *arguments = inside.split(":")
    name = name.strip()
    if kind not in KINDS:
        return AdapterTag(kind, name, source=source, position=position, problem=_unknown_kind(source, kind))
    if not name:
        return AdapterTag(kind, name, source=source, position=position, problem=_no_name(source))
    read: dict[str, Any] = {}
    notes: list[PromptError] = []
    place = 0
    for argument in arguments:
        key, equals, value = argument.partition("=")
        key = key.strip()
        if not equals and place < len(POSITIONAL):
            key, value = POSITIONAL[place], argument
            place += 1
            if key in read:  # a named value wins over a positional one
                continue
        elif not equals or key not in READERS:
            notes.append(_unknown_option(source, argument.strip()))
            continue
        try:
            read[key] = READERS[key][0](value.strip())
        except ValueError:
            problem = _bad_value(source, key, value.strip())
            return AdapterTag(kind, name, source=source, position=position, problem=problem, notes=tuple(notes))
    text_encoder = read.pop("te", 1.0)
    unet = read.pop("unet", text_encoder)  # one strength counts for both; a lone `unet=` leaves the text encoder at 1
    if isinstance(text_encoder, tuple):
        read["text_encoder_steps"], text_encoder = text_encoder, _peak(text_encoder)
    if isinstance(unet, tuple):
        read["unet_steps"], unet = unet, _peak(unet)
    return AdapterTag(kind, name, text_encoder, unet, read, source, position, None, tuple(notes))


def _peak(points: Steps) -> float:
    return max((strength for strength, _ in points), key=abs)


def _short(source: str) -> str:
    return source if len(source) <= 80 else source[:77] + "..."


def _unknown_kind(source: str, kind: str) -> PromptError:
    return PromptError(
        "prompt.tag_kind", f"The tag {_short(source)} is of the kind {kind!r}, which is not known here.",
        "Tags start with <lora: or <lyco:.", "Correct the kind or remove the tag.", tag=_short(source), kind=kind,
    )  # fmt: skip


def _no_name(source: str) -> PromptError:
    return PromptError(
        "prompt.tag_name", f"The tag {_short(source)} has no name.",
        "A tag reads <lora:name:strength>.", "Write the adapter's name after the kind.", tag=_short(source),
    )  # fmt: skip


def _unknown_option(source: str, argument: str) -> PromptError:
    return PromptError(
        "prompt.tag_option", f"{argument!r} in the tag {_short(source)} is not an option and was ignored.",
        OPTIONS, "Correct or remove it.",
        tag=_short(source), option=argument,
    )  # fmt: skip


def _bad_value(source: str, key: str, value: str) -> PromptError:
    meant = "strength" if key in ("te", "unet") else f"{key}="
    return PromptError(
        "prompt.tag_value", f"The tag {_short(source)} has {value!r} as its {meant} and is not in force.",
        READERS[key][1], "Correct the value.", tag=_short(source), option=key, value=value,
    )  # fmt: skip


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _strength(text: str) -> float | Steps:
    if "@" not in text:
        return _number(text)
    points = tuple((_number(weight), _number(place)) for weight, place in (point.split("@") for point in text.split(",")))
    places = [place for _, place in points]
    if min(places) < 0 or any(later <= earlier for earlier, later in pairwise(places)):
        raise ValueError(text)
    return points


def _rank(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError(text)
    return value


def _moment(text: str) -> int | float:
    value = _number(text) if "." in text else int(text)
    if value < 0 or (isinstance(value, float) and value > 1):
        raise ValueError(text)
    return value


STRENGTH = "A number such as 0.8 or -0.5 (with a point, not a comma), or strengths at rising steps such as 1@0,0.5@0.6."
MOMENT = "A step such as 8, or with a point a fraction of the steps from 0.0 to 1.0."
READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "te": (_strength, STRENGTH),
    "unet": (_strength, STRENGTH),
    "dyn": (_rank, "A whole number from 1, the rank to use."),
    "lbw": (parse_blocks, "A preset (NONE ALL INS IND INALL MIDD OUTD OUTS OUTALL) or 12, 17, 20, 26 or 61 numbers."),
    "start": (_moment, MOMENT),
    "stop": (_moment, MOMENT),
}
OPTIONS = f"Options are {', '.join(f'{key}=' for key in READERS)}."
