"""Two sets of images at matched sharpness: at each fineness, the set with more power is damped to the other's level.

Generated images are often smoother than scans, which a classifier sees at once and a reader on a phone may not.  What
still tells the sets apart when their power spectra are equal is another difference.

The spectrum is that of the discrete cosine transform, which continues an image at its borders as its mirror image, so
that no jump is taken for fineness, and a factor on its coefficients is a symmetric filter.  Coefficients are averaged
over rings of equal frequency, as levels (logarithms), so that one bright scan does not stand for all, as in
`distances.spectrum`.  Brightness, the coefficient of frequency 0, is left alone.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from sonoforge.training.data.pixels import Pixels

_DARKEST = 1e-3  # power, in squared grey levels, below which a ring counts as empty: flat images have no finite level
_ROUNDING = 1 / 12  # power that rounding to whole grey levels adds, and that damping leaves room for
_BLOCK = 64  # images at a time


def match_sharpness(first: Pixels, second: Pixels) -> tuple[Pixels, Pixels]:
    """Low-pass both sets so that the mean level of their spectra is the same in every ring.

    Both are filtered, rounded and clipped alike, the one that needs no filter too.  Contrast that one set has more of
    at every fineness is levelled as well.

    Args:
        first: (N, S, S, C) uint8, N at least 1.
        second: (M, S, S, C) uint8, M at least 1.
    """
    side = first.shape[1]
    rings = np.hypot(*np.meshgrid(np.arange(side), np.arange(side))).astype(int)
    levels = [_mean_levels(images, rings) for images in (first, second)]
    lower = np.minimum(*levels)
    room = np.maximum(np.exp(lower) - _ROUNDING, 0)
    gains = [np.where(own > lower, np.sqrt(room / np.exp(own)), 1.0) for own in levels]
    return _filtered(first, gains[0][rings]), _filtered(second, gains[1][rings])


def _mean_levels(images: Pixels, rings: NDArray[np.int_]) -> NDArray[np.float64]:
    """Mean logarithm of the power in each ring, (K,): ring k has k to k + 1 half periods in the image's side."""
    counts = np.bincount(rings.ravel())
    total = np.zeros(len(counts))
    for start in range(0, len(images), _BLOCK):
        power = np.square(_transformed(images[start : start + _BLOCK])).mean(3).reshape(-1, rings.size)
        sums = np.stack([np.bincount(rings.ravel(), own) for own in power])
        total += np.log(np.maximum(sums / counts, _DARKEST)).sum(0)
    levels: NDArray[np.float64] = total / len(images)
    levels[0] = 0.0
    return levels


def _filtered(images: Pixels, gains: NDArray[np.float64]) -> Pixels:
    found = np.empty_like(images)
    for start in range(0, len(images), _BLOCK):
        damped = _transformed(images[start : start + _BLOCK]) * gains[..., None]
        levels = fft.idctn(damped, axes=(1, 2), norm="ortho")
        found[start : start + _BLOCK] = np.clip(np.rint(levels), 0, 255)
    return found


def _transformed(images: Pixels) -> NDArray[np.float64]:
    found: NDArray[np.float64] = fft.dctn(images.astype(np.float64), axes=(1, 2), norm="ortho")
    return found
