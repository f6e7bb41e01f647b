"""How much of a picture is covered by lines of text.

Letters are small blots lighter or darker than what is around them, of similar height, in a row on one level, close to each
other and unlike each other (a row of dots or windows is no text). No letter is read.

Of the 100 text-heavy and 240 other pictures that `tests/support/labelled.py` draws, all are told right by MAX_TEXT. Not in that
set and known to be missed: signs below 20 px of 512 whose strokes do not touch. Known to be taken for text: dense strokes in
rows of one height, such as grass in a picture of 300 px.
"""

from __future__ import annotations

import numpy as np

MAX_TEXT = 0.1
"""A picture with more is text-heavy, fraction of its area. A signature or a mark in a corner covers less."""
_AROUND, _CONTRAST = 25, 20
"""Square in px whose mean a letter stands out from, and by how many levels of 255."""
_HEIGHTS = (4, 0.09)
"""Height of a letter: at least px, at most a fraction of the side."""
_MOST_LETTERS = 4000
"""More blots than this are a texture."""
_SHORTEST = 5
"""Letters of a line, at least."""


def text_share(grey: np.ndarray) -> float:
    """Fraction of the area inside lines of text, 0-1.

    Args:
        grey: (H, W), 0-255, at most 512 x 512 px of area.
    """
    from scipy import ndimage

    values = grey.astype(np.float32)
    apart = values - ndimage.uniform_filter(values, _AROUND, mode="nearest")
    covered = np.zeros(grey.shape, bool)
    for ink in (apart < -_CONTRAST, apart > _CONTRAST):
        boxes, fill = _letters(ink)
        for line in _lines(boxes):
            if _is_text(boxes[line], fill[line]):
                top, left = boxes[line, :2].min(axis=0)
                bottom, right = boxes[line, 2:].max(axis=0)
                covered[top:bottom, left:right] = True
    return float(covered.mean()) if covered.size else 0.0


def _letters(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blots of a letter's size and shape: boxes (N, 4) of top, left, bottom, right, from left to right, and how full each is (N,)."""
    from scipy import ndimage

    labels, count = ndimage.label(ink)
    slices = ndimage.find_objects(labels)
    boxes = np.array([(y.start, x.start, y.stop, x.stop) for y, x in slices], np.int32).reshape(-1, 4)
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    fill = area / np.maximum(height * width, 1)
    right_size = (height >= _HEIGHTS[0]) & (height <= _HEIGHTS[1] * ink.size**0.5) & (width >= 2) & (width <= 8 * height)
    kept = np.flatnonzero(right_size & (area >= 6) & (fill >= 0.12) & (fill <= 0.92))
    if len(kept) > _MOST_LETTERS:
        kept = kept[:0]
    kept = kept[np.argsort(boxes[kept, 1], kind="stable")]
    return boxes[kept], fill[kept]


def _lines(boxes: np.ndarray) -> list[np.ndarray]:
    """Indices of letters that follow each other in one line."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if len(boxes) < _SHORTEST:
        return []
    height, middle = boxes[:, 2] - boxes[:, 0], (boxes[:, 0] + boxes[:, 2]) / 2
    gap = boxes[None, :, 1] - boxes[:, None, 3]  # (N, N): from the right of one letter to the left of another
    taller, lower = np.maximum.outer(height, height), np.minimum.outer(height, height)
    follows = (gap >= -0.3 * taller) & (gap <= 1.2 * taller) & (lower >= 0.45 * taller)
    follows &= (np.abs(np.subtract.outer(middle, middle)) <= 0.45 * taller) & (boxes[None, :, 1] > boxes[:, None, 1])
    letters = np.flatnonzero(follows.any(axis=1))
    next_one = np.where(follows, gap, np.iinfo(np.int32).max).argmin(axis=1)[letters]
    links = coo_matrix((np.ones(len(letters)), (letters, next_one)), shape=(len(boxes), len(boxes)))
    _, line = connected_components(links, directed=False)
    order = np.argsort(line, kind="stable")
    lines = np.split(order, np.flatnonzero(np.diff(line[order])) + 1)
    return [each for each in lines if len(each) >= _SHORTEST]


def _is_text(boxes: np.ndarray, fill: np.ndarray) -> bool:
    """Whether letters in a row are on one level and unlike each other."""
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    usual = np.median(height)
    if boxes[:, 2].max() - boxes[:, 0].min() > 2.5 * usual or ((width / height).std() < 0.15 and fill.std() < 0.08):
        return False
    levels = (boxes[:, 2], (boxes[:, 0] + boxes[:, 2]) / 2)  # Western letters stand on a line, Japanese ones are centred
    return min(np.abs(level - np.median(level)).mean() for level in levels) <= 0.2 * usual
