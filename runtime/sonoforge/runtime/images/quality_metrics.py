"""How good an image is, without a reference picture: eight numbers and flags against the training images.

All but ``resolution`` are measured on the network's own view of the image, so they cost the same for every file
and say what the network could see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.quality_table import METRICS, Band

# A resize averages a clipped pixel with its neighbours: a few levels from the ends still count as clipped.
_SATURATED_FROM = 251
_BLACK_UP_TO = 4


@dataclass(frozen=True)
class Quality:
    """How good an image is."""

    metrics: dict[str, float]  # see `measure`
    flags: tuple[str, ...]  # metrics beyond the faulty side of the training images' range, as ``sharpness_low``

    def to_dict(self) -> dict[str, object]:
        """Return the metrics and the flags by name, ready for JSON."""
        return {**self.metrics, "flags": list(self.flags)}


def measure(pixels: NDArray[np.uint8], width: int, height: int) -> dict[str, float]:
    """Measure one image.

    Args:
        pixels: (S, S, 3) uint8, as `sonoforge.runtime.images.preprocessing.Preprocessing.resize` returns it, or one of
            its channels (S, S) where all are equal.
        width: Width of the original image in pixels.
        height: Height of the original image in pixels.

    Returns:
        ``sharpness``: variance of the 4-neighbour Laplacian, in squared grey levels (falls with blur);
        ``noise``: standard deviation of additive noise in grey levels, by Immerkær's mask (rises with noise);
        ``contrast``: 95th minus 5th percentile, in grey levels (falls with compression of the range);
        ``brightness``: mean grey level (follows the gain);
        ``saturated``: share of pixels at the white end (rises with too much gain);
        ``black``: share at the black end (rises with too little gain, lost contact or cut-off);
        ``evenness``: below the upper quarter, mean grey level of a band of a sixth of the width over that of the darker
        of its neighbours, both plus one, where that is least (falls with a shadow); our own;
        ``resolution``: the shorter side of the original, in pixels.

    Sources: Pech-Pacheco et al., ICPR 2000 (variance of Laplacian); J. Immerkær, Fast noise variance estimation,
    CVIU 64 (1996).
    """
    grey = _grey(pixels)
    share = np.array(Image.fromarray(grey).histogram()) / grey.size  # thrice as fast as numpy.bincount
    cumulative = np.cumsum(share)
    low, high = np.searchsorted(cumulative, (0.05, 0.95))
    signed = grey.astype(np.int16)
    vertical = signed[:-2] + signed[2:]
    fourfold = 4 * signed[1:-1, 1:-1]
    cross = vertical[:, 1:-1] + signed[1:-1, :-2] + signed[1:-1, 2:]
    corners = vertical[:, :-2] + vertical[:, 2:]
    laplacian = cross - fourfold
    residual = corners - 2 * cross + fourfold
    return {
        "sharpness": float(laplacian.var(dtype=np.float32)),
        "noise": float(math.sqrt(math.pi / 2) / 6 * np.abs(residual).mean(dtype=np.float32)),
        "contrast": float(high - low),
        "brightness": float(share @ np.arange(256)),
        "saturated": float(share[_SATURATED_FROM:].sum()),
        "black": float(share[: _BLACK_UP_TO + 1].sum()),
        "evenness": _evenness(grey),
        "resolution": float(min(width, height)),
    }


def assess(pixels: NDArray[np.uint8], size: tuple[int, int], limits: Mapping[str, Band]) -> Quality:
    """Return the metrics of an image and its flags; ``size`` is the original's width and height, see `measure`."""
    values = measure(pixels, *size)
    return Quality(values, tuple(flags(values, limits)))


def flags(values: Mapping[str, float], limits: Mapping[str, Band]) -> list[str]:
    """Name every metric of `measure` beyond the faulty side of its reference range, as ``sharpness_low``."""
    found = []
    for name, metric in METRICS.items():
        if metric.low and values[name] < limits[name].low:
            found.append(f"{name}_low")
        if metric.high and values[name] > limits[name].high:
            found.append(f"{name}_high")
    return found


def _evenness(grey: NDArray[np.uint8]) -> float:
    """See `measure`; of grey levels (S, S)."""
    below = grey[len(grey) // 4 :].sum(axis=0, dtype=np.int64)
    width = len(below) // 6
    sums = np.concatenate([[0], np.cumsum(below)])
    bands = sums[width:] - sums[:-width] + width * (len(grey) - len(grey) // 4)
    return float((bands[width:-width] / np.minimum(bands[: -2 * width], bands[2 * width :])).min())


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(S, S) luma of an RGB image (ITU-R BT.601 weights), or the one channel of a grey image."""
    if pixels.ndim == 2:
        return pixels
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if (red == green).all() and (red == blue).all():
        return np.ascontiguousarray(red)
    luma = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(np.rint(luma).astype(np.uint8))
