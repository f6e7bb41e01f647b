"""From the scores of a grid's pictures to the epoch and the strength worth trying first. A suggestion, never a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CLOSE = 0.01
"""Totals that differ by less say nothing; of these the earlier version and the lower strength is taken."""


@dataclass(frozen=True)
class GroupScore:
    """Of the pictures made with one version of an adapter at one strength, over all prompts and seeds.

    Attributes:
        at: letter of each axis that varies the adapter -> place on it.
        name: of the adapter's file, without ending.
        step: of a version of the run; 0 of another file.
        version: as an axis names it, "epoch 3 / step 120"; "" of another file.
        text_encoder, unet: strengths.
        pictures: how many they are.
        likeness, total: see `engine.generation.likeness.Score`.
        diversity: None where there is but one picture, so that likeness alone counts.
    """

    at: Mapping[str, int]
    name: str
    step: int
    version: str
    text_encoder: float
    unet: float
    pictures: int
    likeness: float
    diversity: float | None
    total: float


@dataclass(frozen=True)
class Scores:
    """What is known of a grid's pictures.

    Attributes:
        method: how they were compared, in words.
        training: how many training pictures they were compared with.
        error: `EngineError.to_dict` of why they could not be compared.
    """

    groups: tuple[GroupScore, ...] = ()
    method: str = ""
    training: int = 0
    error: dict | None = None


@dataclass(frozen=True)
class Suggestion:
    """What to try first.

    Attributes:
        best: its scores.
        stronger: a higher strength of the same version that scored lower, most of all; None where there is none.
        later: a later version at the same strength that scored lower; None where there is none.
    """

    best: GroupScore
    stronger: GroupScore | None = None
    later: GroupScore | None = None


def suggest(groups: Sequence[GroupScore]) -> Suggestion | None:
    """The group with the highest total; None where no group is any nearer to the training pictures than the base model.

    Of totals within CLOSE of the highest the earliest version counts, and of that the lowest strength.
    """
    highest = max((group.total for group in groups), default=0.0)
    if highest <= 0:
        return None
    best = min((group for group in groups if group.total > highest - CLOSE), key=lambda group: (group.step, _strength(group)))
    less = [group for group in groups if group.total <= best.total - CLOSE]
    stronger = [group for group in less if _version(group) == _version(best) and _strength(group) > _strength(best)]
    later = [group for group in less if group.step > best.step and _strength(group) == _strength(best)]
    return Suggestion(best, max(stronger, key=_strength, default=None), max(later, key=lambda group: group.step, default=None))


def _version(group: GroupScore) -> tuple[int, str]:
    return group.step, group.name


def _strength(group: GroupScore) -> tuple[float, float]:
    return group.unet, group.text_encoder
