"""One thing that the doctor found, and the table of everything it can find.

The table says how grave each is and what a click can do about it; the sentence and its values come from the check that found it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from engine.errors import EngineError

Severity = Literal["error", "warning", "advice"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "advice")
"""Gravest first: it is not trained on; it makes the result worse; good to know."""


class Kind(NamedTuple):
    """What holds for every finding of a code.

    Attributes:
        remedy: what one click does, a key of `engine.datasets.doctor.remedies.REMEDIES`; "" where nothing is certain to be right.
        blocks: nobody can train on the dataset before this is put right.
    """

    severity: Severity
    remedy: str = ""
    blocks: bool = False


FINDINGS: dict[str, Kind] = {
    # the dataset
    "dataset.no_pictures": Kind("error", blocks=True),
    "dataset.nothing_left": Kind("error", blocks=True),
    "dataset.only_regularisation": Kind("error", blocks=True),
    "dataset.repeats": Kind("error", blocks=True),
    "dataset.file": Kind("error", blocks=True),
    "dataset.unreadable_folder": Kind("error", blocks=True),
    "dataset.one_picture": Kind("warning"),
    "dataset.few": Kind("advice"),
    "dataset.very_few": Kind("warning"),
    "dataset.many": Kind("advice"),
    "dataset.no_trigger": Kind("warning"),
    "dataset.low_resolution": Kind("advice"),
    "dataset.high_resolution": Kind("advice"),
    "dataset.needless_regularisation": Kind("advice"),
    "regularisation.left_over": Kind("advice"),
    "folder.ignored": Kind("warning"),
    "folder.missing": Kind("warning"),
    "folder.empty": Kind("advice"),
    "folder.many_repeats": Kind("warning"),
    # its buckets
    "bucket.step": Kind("error", blocks=True),
    "bucket.below_minimum": Kind("error", blocks=True),
    "bucket.above_maximum": Kind("error", blocks=True),
    "bucket.picture_too_small": Kind("error", "exclude", blocks=True),
    "bucket.small": Kind("advice"),
    # a file
    "picture.empty": Kind("error", "exclude"),
    "picture.unreadable": Kind("error", "exclude"),
    "picture.damaged": Kind("error", "exclude"),
    "picture.too_large": Kind("error", "exclude"),
    "picture.ignored": Kind("warning"),
    "picture.unlisted": Kind("warning"),
    "picture.same_stem": Kind("warning"),
    "picture.wrong_extension": Kind("advice", "rename_extension"),
    "picture.turned": Kind("advice"),
    "picture.alpha": Kind("advice"),
    "picture.cmyk": Kind("advice", "convert:png"),
    "picture.deep": Kind("advice"),
    "picture.palette": Kind("advice"),
    "picture.animated": Kind("advice", "convert:png"),
    # what is on it
    "picture.too_small": Kind("warning", "exclude"),
    "picture.extreme_aspect": Kind("warning", "exclude"),
    "picture.blurred": Kind("warning", "exclude"),
    "picture.text": Kind("warning", "exclude"),
    "picture.bordered": Kind("warning", "crop"),
    "picture.duplicate": Kind("warning", "keep_first"),
    "picture.near_duplicate": Kind("warning", "keep_first"),
    # its caption
    "caption.missing": Kind("warning", "caption"),
    "caption.empty": Kind("warning", "caption"),
    "caption.undecodable": Kind("error", "caption"),
    "caption.two_files": Kind("advice"),
    "caption.further_lines": Kind("advice"),
    "caption.long": Kind("warning"),
    "caption.metadata": Kind("error"),
    "caption.no_trigger": Kind("advice", "add_trigger"),
    "caption.wrong_trigger": Kind("warning", "replace_trigger"),
    "caption.unwanted_trigger": Kind("warning", "remove_trigger"),
    "caption.identical": Kind("warning", "caption"),
}  # fmt: skip
"""Code -> what holds for it. Codes that `engine.datasets.scan` finds stand here too."""


@dataclass(frozen=True)
class Finding:
    """Something about a picture, its caption or the whole dataset.

    Attributes:
        file: the picture's name below the dataset folder; a folder's name; "" for the whole dataset.
        message: in English, with what it means for training. The page says it by `code` and `values`.
        also: further pictures it holds for, such as the duplicates of `file`.
    """

    code: str
    severity: Severity
    file: str
    message: str
    values: dict[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def blocks(self) -> bool:
        return self.code in FINDINGS and FINDINGS[self.code].blocks

    @property
    def error(self) -> EngineError:
        """The same in the form that the page translates."""
        return EngineError(self.code, self.message, **self.values)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"also": list(self.also)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Finding:
        return cls(**{**data, "also": tuple(data.get("also", ()))})


def finding(code: str, file: str, message: str, also: tuple[str, ...] = (), /, **values: object) -> Finding:
    """A finding of the table."""
    kind = FINDINGS[code]
    return Finding(code, kind.severity, file, message, {name: str(value) for name, value in values.items()}, also, kind.remedy)
