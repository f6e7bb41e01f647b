"""Pictures that look alike, by their perceptual hash: the signs of the low frequencies of a small grey copy.

256 bits (imagehash's `phash` of size 16). Between a picture and itself saved as JPEG of quality 40, shrunk by half, 12 % brighter,
or in grey at most 12 bits differ, with a signature on it or 1 % cut off at each side 4 to 34; between different pictures
of one world 34 or more (the practice mascot on plain grounds), usually over 100. 64 bits do not tell these two apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

BITS = 256
MAX_DISTANCE = 24
"""Bits of 256 by which two pictures differ that are taken for one."""


def likeness_hash(picture: Image.Image) -> str:
    """64 hexadecimal digits."""
    import imagehash

    return str(imagehash.phash(picture, hash_size=int(BITS**0.5)))


def groups_alike(hashes: Sequence[str]) -> list[list[int]]:
    """Indices of pictures that look like the first of their group, which is the earliest; groups of one are left out.

    Each member is near the first, not only near another member: in a long burst the last may differ from the first.
    One comparison with all others for each picture: 10,000 take a few seconds.
    """
    if not hashes:
        return []
    codes = np.array([[int(text[i : i + 16], 16) for i in range(0, BITS // 4, 16)] for text in hashes], np.uint64)
    free = np.ones(len(codes), bool)
    groups = []
    for first in range(len(codes)):
        if not free[first]:
            continue
        free[first] = False
        distance = np.bitwise_count(codes[first + 1 :] ^ codes[first]).sum(axis=1, dtype=np.uint16)
        alike = first + 1 + np.flatnonzero((distance <= MAX_DISTANCE) & free[first + 1 :])
        if len(alike):
            free[alike] = False
            groups.append([first, *map(int, alike)])
    return groups
