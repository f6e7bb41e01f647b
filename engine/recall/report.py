"""What became of every field in a picture's text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Fate = Literal["taken", "translated", "ignored", "unknown"]
REASONS = {
    "absent_file": "There is no such file here.",
    "base": "The base model that is chosen cannot be walked so.",
    "bounds": "This value cannot be used here, and what is set stays.",
    "control": "So many control characters were taken out.",
    "field": "Nothing here has this setting.",
    "foreign": "It was made with this program, whose settings are not read here.",
    "gpu_noise": "The picture does not say where its noise was drawn. AUTOMATIC1111 then uses the graphics card, and NV draws the same.",
    "information": "It tells of the picture and sets nothing.",
    "more": "So many more are not looked at.",
    "nearest": "The nearest that there is here.",
    "no_tag": "The prompt has no tag of this name.",
    "no_text": "There are no settings in it.",
    "other_content": "A file of this name is here, but with other content.",
    "renamed": "The same file has this name here.",
    "shape": "Its shape differs from that of the first pass.",
    "source": "It was made from another picture. Choose that one again.",
    "split": "The name held both sampler and schedule type.",
    "too_long": "The text is too long to be the settings of a picture.",
}
"""Code -> why a field did not become a setting, or not as it stood."""


class Line(NamedTuple):
    """What became of one field.

    Attributes:
        field: its name in the picture; "" for the text as a whole.
        reason: key of REASONS, or "".
        became: the setting, where it is not the value.
    """

    field: str
    value: str
    fate: Fate
    reason: str = ""
    became: str = ""


@dataclass(frozen=True)
class Recalled:
    """Settings read from a picture.

    Attributes:
        settings: nested, for `GenerateConfig`; what is not among them stays as it is set.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    report: list[Line] = field(default_factory=list)
