"""All checks, in the order in which people read what they find. Each looks at the whole case and knows no other."""

from __future__ import annotations

from collections.abc import Callable

from engine.datasets.doctor import amounts, colours, contents, duplicates, files, sizes, texts
from engine.datasets.doctor.case import Case
from engine.datasets.doctor.finding import Finding

Check = Callable[[Case], list[Finding]]
FILE_CHECKS: tuple[Check, ...] = (files.scanned, files.damaged, files.wrong_extension)
"""Those that also say something where no picture is left to train on."""
CHECKS: tuple[Check, ...] = (
    *FILE_CHECKS,
    sizes.refused, sizes.too_small, sizes.extreme_aspect, sizes.small_buckets, sizes.resolution,
    contents.blurred, contents.text_heavy, contents.bordered,
    duplicates.exact, duplicates.near,
    texts.no_trigger, texts.triggers, texts.identical, texts.long,
    amounts.number, amounts.needless_regularisation,
    colours.turned, colours.transparent, colours.printed, colours.deep, colours.few_colours, colours.animated,
)  # fmt: skip
