"""Measure how good an image is without a reference picture: eight numbers of the network's view, and their meaning.

``quality_table.json`` describes every metric: ``METRICS`` are measured here, ``SCAN`` by `scan_metrics.measure` in the
scan's own pixels, ``LESION`` by `scan_metrics.gcnr` with a mask, ``CLIP`` by `frame_motion`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A resize averages a clipped pixel with its neighbours: a few levels from the ends still count as clipped.
_SATURATED_FROM = 251
_BLACK_UP_TO = 4


class Band(NamedTuple):
    """The range of a metric in nearly all training images."""

    low: float
    high: float


class ViewMetric(NamedTuple):
    """A metric of the view; a side of its band without words is not a fault, as no scan has too many pixels."""

    title: str  # heading of its column
    form: str  # format of its value
    low: str = ""  # what a scan below the band is, in words
    high: str = ""  # what a scan above it is


class Metric(NamedTuple):
    """A metric of a scan, a lesion or a clip."""

    title: str  # heading of its column
    form: str  # format of its value
    unit: str
    range: str  # possible values
    better: str  # ``higher`` or ``lower``; a value is flagged on the other side of its band
    source: str  # paper and section, or that it is our own
    advice: str  # sentence for a flagged scan


_TABLE = json.loads(Path(__file__).with_name("quality_table.json").read_text(encoding="utf-8"))
METRICS = {name: ViewMetric(**row) for name, row in _TABLE["view"].items()}
SCAN, LESION, CLIP = ({n: Metric(**row) for n, row in _TABLE[kind].items()} for kind in ("scan", "lesion", "clip"))


@dataclass(frozen=True)
class Quality:
    """How good an image is."""

    metrics: dict[str, float]  # see `measure`
    flags: tuple[str, ...]  # metrics beyond the faulty side of the training images' range, as ``sharpness_low``

    def to_dict(self) -> dict[str, object]:
        """Return the metrics and the flags by name, ready for JSON."""
        return {**self.metrics, "flags": list(self.flags)}


def measure(pixels: NDArray[np.uint8], width: int, height: int) -> dict[str, float]:
    """Measure the network's view of an image, (S, S, 3) uint8 or one channel (S, S); the size is the original's.

    Returns:
        ``sharpness``: variance of the 4-neighbour Laplacian, in squared grey levels (Pech-Pacheco et al., ICPR 2000);
        ``noise``: standard deviation of additive noise by Immerkaer's mask (CVIU 64, 1996);
        ``contrast``: 95th minus 5th percentile, in grey levels; ``brightness``: mean grey level;
        ``saturated`` and ``black``: share of pixels at the white and the black end;
        ``evenness``: below the upper quarter, the lowest ratio of a band's mean grey level (a sixth of the width) to
        its darker neighbour's, both plus one (falls with a shadow); our own;
        ``resolution``: the original's shorter side, in pixels.
    """
    from PIL import Image  # noqa: PLC0415 - the model loads before Pillow

    grey = _grey(pixels)
    share = np.array(Image.fromarray(grey).histogram()) / grey.size  # three times as fast as numpy.bincount
    low, high = np.searchsorted(np.cumsum(share), (0.05, 0.95))
    signed = grey.astype(np.int16)
    across = np.diff(signed, 2)
    laplacian = (across[1:-1] + np.diff(signed[:, 1:-1], 2, axis=0)).astype(np.float32)
    squares = np.einsum("ij,ij->i", laplacian, laplacian).mean(dtype=np.float64)
    residual = np.abs(np.diff(across, 2, axis=0)).sum(axis=0, dtype=np.int32).mean() / len(laplacian)
    return {
        "sharpness": float(squares / laplacian.shape[1] - laplacian.mean(dtype=np.float64) ** 2),
        "noise": float(math.sqrt(math.pi / 2) / 6 * residual),
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
    """Return a flag such as ``sharpness_low`` for each metric of `measure` beyond the faulty side of its band.

    A metric without a band, which the bundle is too old to have, is never flagged.
    """
    found = []
    for name, band in limits.items():
        metric = METRICS[name]
        if metric.low and values[name] < band.low:
            found.append(f"{name}_low")
        if metric.high and values[name] > band.high:
            found.append(f"{name}_high")
    return found


def flag_in_words(flag: str) -> str:
    """Return a flag of the view in words, such as ``blurred`` for ``sharpness_low``."""
    name, _, side = flag.rpartition("_")
    return str(getattr(METRICS[name], side))


def _evenness(grey: NDArray[np.uint8]) -> float:
    below = grey[len(grey) // 4 :].sum(axis=0, dtype=np.uint32).astype(np.int64)
    width = len(below) // 6
    sums = np.concatenate([[0], np.cumsum(below)])
    bands = sums[width:] - sums[:-width] + width * (len(grey) - len(grey) // 4)
    return float((bands[width:-width] / np.minimum(bands[: -2 * width], bands[2 * width :])).min())


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the (S, S) luma of an RGB image (ITU-R BT.601 weights), or the one channel of a grey image."""
    if pixels.ndim == 2:
        return pixels
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if (red == green).all() and (red == blue).all():
        return np.ascontiguousarray(red)
    luma = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(np.rint(luma).astype(np.uint8))
