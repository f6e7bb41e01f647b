"""Plain bars at two opposite edges of a picture, or a frame all around: letterboxes, screenshots of films, scanned margins.

A bar is lines of one colour from the edge inwards that end abruptly, along most of their length; the empty paper around a
figure, a plain sky and a smooth gradient do not. Two opposite bars of one colour are wanted, for one alone may be a floor.

Of the 40 bordered and 380 other pictures that `tests/support/labelled.py` draws, all are told right.
"""

from __future__ import annotations

import numpy as np

LEAST = 0.02
"""A thinner bar is no bar, fraction of the side."""
_SAME, _STEP = 12, 24
"""Levels of 255 by which a bar's pixels differ at most, and the picture behind it at least."""
_LINES = 3
"""Within so many lines a bar must have ended: shrinking a picture softens its edge."""


def inner_box(rgb: np.ndarray) -> tuple[float, float, float, float] | None:
    """What lies between the bars: left, top, right, bottom as fractions of the picture; None where there are none.

    Args:
        rgb: (H, W, 3), 0-255.
    """
    rows = rgb.astype(np.int16)
    height, width = rows.shape[:2]
    columns = rows.transpose(1, 0, 2)
    top, bottom = _pair(rows)
    left, right = _pair(columns[:, top : height - bottom])
    if not top:
        top, bottom = _pair(rows[:, left : width - right])
    if not (top or left):
        return None
    return left / width, top / height, 1 - right / width, 1 - bottom / height


def _pair(lines: np.ndarray) -> tuple[int, int]:
    """Thickness of the bars at both ends of `lines` (N, M, 3); zeros unless there are two of one colour."""
    if len(lines) < 8 or lines.shape[1] < 8:
        return 0, 0
    (first, colour), (last, other) = _bar(lines), _bar(lines[::-1])
    wide = min(first, last) >= LEAST * len(lines) and first + last < len(lines)
    return (first, last) if wide and np.abs(colour - other).max() <= _STEP else (0, 0)


def _bar(lines: np.ndarray) -> tuple[int, np.ndarray]:
    """Thickness of the bar that begins at the first line, 0 for none, and its colour."""
    colour = np.median(lines[0], axis=0)
    end = next((i for i, line in enumerate(lines) if (_apart(line, colour) <= _SAME).mean() < 0.99), len(lines))
    behind = _apart(lines[end : end + _LINES], colour)
    abrupt = len(behind) and (behind.max(axis=0) > _STEP).mean() >= 0.6
    return (end if abrupt else 0), colour


def _apart(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """How far pixels (..., 3) are from a colour, in the channel that differs most."""
    return np.abs(pixels - colour).max(axis=-1)
