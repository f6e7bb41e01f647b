"""Findings about how many pictures there are for what is to be learnt.

The numbers are those the guides agree on that creators follow (PixAI's help for LoRA training): a character 15 to 30, or 30 to 100
for transformers, a style 20 to 40, an outfit 15 to 25, a pose 10 to 20. An object is one thing from all sides, as a character is;
a concept is whatever varies most, 15 to 100 as in Civitai's guides.
"""

from __future__ import annotations

from engine.config.train import Kind
from engine.datasets.doctor.case import Case
from engine.datasets.doctor.finding import Finding, finding

NUMBERS: dict[Kind, tuple[int, int]] = {
    "character": (15, 30), "style": (20, 40), "outfit": (15, 25), "pose": (10, 20), "object": (15, 30), "concept": (15, 100),
}  # fmt: skip
"""What is learnt -> pictures, from the least to the most."""
CHARACTER_FOR_TRANSFORMERS = (30, 100)
TRANSFORMERS = ("sd3", "flux", "z_image")
VERY_FEW = 0.5
"""Below this share of the least, the result suffers visibly."""


def recommended(kind: Kind, family: str) -> tuple[int, int]:
    """From how many to how many pictures."""
    return CHARACTER_FOR_TRANSFORMERS if kind == "character" and family in TRANSFORMERS else NUMBERS[kind]


def number(case: Case) -> list[Finding]:
    """Too few or too many pictures, kind by kind. A single one is `scan`'s finding."""
    counts: dict[Kind, int] = {}
    for concept in case.dataset.learnt:
        kind: Kind = concept.kind or case.kind  # type: ignore[assignment]  # a concept's kind is a word of Kind or ""
        counts[kind] = counts.get(kind, 0) + len(case.learnt.keys() & {case.name(picture.path) for picture in concept.pictures})
    found = []
    for kind, count in counts.items():
        low, high = recommended(kind, case.model.family)
        values = {"count": count, "kind": kind, "low": low, "high": high}
        if 1 < count < low:
            code = "dataset.very_few" if count < VERY_FEW * low else "dataset.few"
            text = f"{count} pictures are few for this kind ({kind}); {low} to {high} are usual. With few pictures, their backgrounds and poses are learnt too."
            found.append(finding(code, "", text, **values))
        elif count > high:
            text = f"{count} pictures are many for this kind ({kind}); {low} to {high} are usual. Training takes longer, and the weak ones spoil the good ones."
            found.append(finding("dataset.many", "", text, **values))
    return found


def needless_regularisation(case: Case) -> list[Finding]:
    """Regularisation pictures where there is no word whose meaning they could protect."""
    count = len(case.readable) - len(case.learnt)
    if not count or not case.learnt or (case.kind != "style" and any(case.word(picture) for picture in case.learnt.values())):
        return []
    reason = (
        "a style has no class of its own" if case.kind == "style" else "without a trigger word they pull against what is learnt"
    )
    text = f"The {count} regularisation pictures are not needed: {reason}. They double the time of training."
    return [finding("dataset.needless_regularisation", "", text, count=count)]
