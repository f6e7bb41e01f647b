"""Findings about what is on a picture: blur, text, bars. All three are measured, and may be wrong; see where they are measured."""

from __future__ import annotations

from math import ceil, floor

from engine.datasets.alter import LEAST_SIDE
from engine.datasets.doctor.blur import MAX_BLUR
from engine.datasets.doctor.case import Case
from engine.datasets.doctor.finding import Finding, finding
from engine.datasets.doctor.writing import MAX_TEXT


def blurred(case: Case) -> list[Finding]:
    """Pictures without one sharp edge."""
    return [
        finding(
            "picture.blurred", name,
            f"Nothing on it is sharp: its sharpest edges are {look.blur:.1f} px wide at 512 px. The blur is learnt too.", blur=f"{look.blur:.1f}",
        )
        for name, _, look in case.seen if look.blur > MAX_BLUR
    ]  # fmt: skip


def text_heavy(case: Case) -> list[Finding]:
    """Pictures with much text."""
    return [
        finding(
            "picture.text", name,
            f"About {round(100 * look.text)} % of it looks like text. Training makes scribbles of it, which then appear on every picture.",
            percent=round(100 * look.text),
        )
        for name, _, look in case.seen if look.text > MAX_TEXT
    ]  # fmt: skip


def bordered(case: Case) -> list[Finding]:
    """Pictures between plain bars; the values hold the box to cut out, in px of the upright picture."""
    found = []
    for name, picture, look in case.seen:
        if look.inner is None:
            continue
        (left, top, right, bottom), (width, height) = look.inner, picture.size
        # one line of the small copy more is cut, for it may be half bar
        box = (ceil(left * width), ceil(top * height), floor(right * width), floor(bottom * height))
        if min(box[2] - box[0], box[3] - box[1]) >= LEAST_SIDE:
            text = "It has plain bars at its edges, which are learnt as part of every picture. Cut them off."
            found.append(finding("picture.bordered", name, text, box=",".join(map(str, box))))
    return found
