"""What another scanner, setting or hand does to a scan, at three strengths each.

Grey levels of B-mode scans are logarithms: with the usual dynamic range of 60 dB over 255 levels, a decibel is 4.25
levels, and gain, attenuation and shadow are sums.  Lengths are shares of the picture, so that strengths mean the same
at every size.  Disturbances are drawn from a seed that depends on the file alone: two bundles see the same ones.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

Levels = NDArray[np.float64]
"""(H, W) grey levels, 0..255."""

DECIBEL = 255 / 60
"""Grey levels, see above."""


class Disturbance(NamedTuple):
    """One kind: what it is, its strengths with their unit, and how it is done."""

    title: str
    unit: str
    strengths: tuple[float, float, float]
    apply: Callable[[Levels, float, np.random.Generator], Levels]


def _shadow(levels: Levels, decibels: float, rng: np.random.Generator) -> Levels:
    """Darken a band, a quarter of the width, from a random depth in the upper third on: air, a rib, a calcification."""
    height, width = levels.shape
    column, row = rng.uniform(0.2, 0.8) * width, rng.uniform(0.05, 0.33) * height
    across = np.exp(-0.5 * ((np.arange(width) - column) / (0.125 * width)) ** 4)
    down = 1 / (1 + np.exp(-(np.arange(height) - row) / (0.02 * height)))
    darker: Levels = levels - DECIBEL * decibels * down[:, None] * across
    return darker


def _gain(levels: Levels, decibels: float, rng: np.random.Generator) -> Levels:
    return levels + DECIBEL * decibels


def _attenuation(levels: Levels, decibels: float, rng: np.random.Generator) -> Levels:
    """Darken with depth: a time-gain compensation that was set too low."""
    darker: Levels = levels - DECIBEL * decibels * np.linspace(0, 1, len(levels))[:, None]
    return darker


def _deeper(levels: Levels, factor: float, rng: np.random.Generator) -> Levels:
    """Squeeze the picture upwards, above deeper tissue: its own lower part mirrored, 20 dB darker at the bottom."""
    height, width = levels.shape
    upper = round(height / factor)
    squeezed = np.asarray(_image(levels).resize((width, upper), Image.Resampling.BILINEAR), np.float64)
    below = squeezed[::-1][: height - upper]
    return np.concatenate([squeezed, below - 20 * DECIBEL * np.linspace(0, 1, len(below))[:, None]])


def _haze(levels: Levels, amount: float, rng: np.random.Generator) -> Levels:
    """Add clutter that fades with depth: reverberation and side lobes, bright where tissue is dark."""
    height, width = levels.shape
    field = ndimage.gaussian_filter(rng.normal(size=(height, width)), (0.01 * height, 0.06 * width))
    depth = np.exp(-np.linspace(0, 3, height))[:, None]
    clutter = 255 * amount * depth * np.clip(0.7 + 0.3 * field / field.std(), 0, None)
    hazy: Levels = np.maximum(levels, clutter)
    return hazy


def _blur(levels: Levels, radius: float, rng: np.random.Generator) -> Levels:
    """Blur by a share of the width: a focus that was set elsewhere."""
    return np.asarray(_image(levels).filter(ImageFilter.GaussianBlur(radius * levels.shape[1])), np.float64)


def _jpeg(levels: Levels, quality: float, rng: np.random.Generator) -> Levels:
    stream = io.BytesIO()
    _image(levels).save(stream, "JPEG", quality=int(quality))
    return np.asarray(Image.open(stream).convert("L"), np.float64)


def _crop(levels: Levels, share: float, rng: np.random.Generator) -> Levels:
    """Cut a share of height and width away, unevenly from both sides."""
    height, width = levels.shape
    top, left = (int(rng.uniform(0, share) * side) for side in (height, width))
    return levels[top : top + round((1 - share) * height), left : left + round((1 - share) * width)]


def _speckle(levels: Levels, decibels: float, rng: np.random.Generator) -> Levels:
    """Add speckle of a coarser grain: a probe of lower frequency, or frames averaged less."""
    height, width = levels.shape
    field = ndimage.gaussian_filter(rng.normal(size=(height, width)), (0.004 * height, 0.01 * width))
    speckled: Levels = levels + DECIBEL * decibels * field / field.std()
    return speckled


DISTURBANCES = {
    "shadow": Disturbance("shadow", "dB", (6, 12, 24), _shadow),
    "gain-down": Disturbance("less gain", "dB", (-6, -12, -24), _gain),
    "gain-up": Disturbance("more gain", "dB", (6, 12, 24), _gain),
    "attenuation": Disturbance("gain lost with depth", "dB at the bottom", (10, 20, 40), _attenuation),
    "depth": Disturbance("more depth in the picture", "times", (1.2, 1.5, 2.0), _deeper),
    "haze": Disturbance("haze", "of full white at the skin", (0.2, 0.4, 0.7), _haze),
    "blur": Disturbance("blur", "of the width", (0.004, 0.008, 0.016), _blur),
    "jpeg": Disturbance("JPEG", "quality", (40, 20, 8), _jpeg),
    "crop": Disturbance("crop", "of height and width", (0.1, 0.2, 0.35), _crop),
    "speckle": Disturbance("coarser speckle", "dB", (1, 2, 4), _speckle),
}


def disturb(levels: NDArray[np.uint8], kind: str, strength: float, seed: int) -> NDArray[np.uint8]:
    """Return a disturbed copy of a scan's grey levels (H, W); a crop returns fewer.

    Args:
        levels: (H, W).
        kind: Row of `DISTURBANCES`.
        strength: In its unit; its ``strengths`` are those that are reported.
        seed: Of what it draws.
    """
    changed = DISTURBANCES[kind].apply(levels.astype(np.float64), strength, np.random.default_rng(seed))
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _image(levels: Levels) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))
