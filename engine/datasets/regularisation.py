"""How often regularisation pictures are shown: together as often as what is learnt, by Kohya's rule. Knows numbers only."""

from __future__ import annotations

from collections.abc import Sequence


def balanced(repeats: Sequence[int], views: int) -> list[int]:
    """Showings per epoch of each regularisation picture.

    In a first round each counts with its own repeats until `views` is reached; the rest is left over (0), and the last one may
    go past it. If the round ends short, each gets one more in turn, round after round, until `views` is reached.

    Args:
        repeats: their own, in the order of the dataset.
        views: showings per epoch of the pictures that are learnt.
    """
    shown, total = [0] * len(repeats), 0
    for index, own in enumerate(repeats):
        if total >= views:
            break
        shown[index] = own
        total += own
    if shown and total < views:
        each, more = divmod(views - total, len(shown))
        shown = [own + each + (index < more) for index, own in enumerate(shown)]
    return shown
