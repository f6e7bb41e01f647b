"""How blurred the sharpest edges of a picture are.

The variance of the Laplacian, normalised by the variance of the gradient at the same places: both grow with the contrast and
with the number of edges, so that their ratio depends on neither. For a step blurred by a Gaussian of deviation s it is
`sum(lap^2) / sum(grad^2) = 1 / (2 s^2)`, which is solved for s. Looking at the strongest edges alone, one thing in focus before
a blurred background is enough; smoothing first keeps the grain of a camera from passing for detail.

Of 120 pictures in focus that `tests/support/labelled.py` draws, MAX_BLUR calls none blurred; of the same blurred by 3 to 6 px of
512, a third of them under noise, it misses 1; of 40 gradients and pictures of noise it calls none blurred.
"""

from __future__ import annotations

import numpy as np

SIDE = 512
"""Pictures are judged at the area of this square, px; blur is stated in px of it, whatever the size of the picture."""
MAX_BLUR = 2.1
"""A picture with more is blurred, px of 512."""
_SMOOTH = 2.0
_SMALLEST = 256
"""Smaller pictures are judged as this size: their edges are a pixel wide at least, and being small is another finding."""
_MOST = 64.0
"""What rises over more px of 512 is a gradient, not an edge out of focus."""
_STRONGEST = 0.005
"""Fraction of the pixels that counts as the strongest edges."""
_LEAST_SLOPE = 1.5
"""Grey levels per px; where the strongest edge is weaker there is nothing that could be in focus: sky, fog, a gradient."""


def edge_blur(grey: np.ndarray) -> float:
    """Deviation of the Gaussian that would blur a hard edge to the sharpest edges here, px of a 512 px square; 0 without edges.

    Args:
        grey: (H, W), 0-255, of at most the area of SIDE x SIDE.
    """
    from scipy import ndimage

    if min(grey.shape) < 3:
        return 0.0
    smooth = ndimage.gaussian_filter(grey.astype(np.float32), _SMOOTH, mode="nearest")
    slope = sum(axis**2 for axis in np.gradient(smooth))
    strong = np.quantile(slope, 1 - _STRONGEST)
    if strong < _LEAST_SLOPE**2:
        return 0.0
    edges = ndimage.binary_dilation(slope >= strong, iterations=4)
    curvature = ndimage.laplace(smooth, mode="nearest")[edges]
    variance = float(slope[edges].sum() / np.square(curvature).sum()) / 2 - _SMOOTH**2
    blur = max(0.0, variance) ** 0.5 * SIDE / max(grey.size**0.5, _SMALLEST)
    return blur if blur < _MOST else 0.0
