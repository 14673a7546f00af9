"""Measure how good a scan is in its own pixels, judged by a bundle's bands: the network's small view cannot show it.

Each definition takes a few lines, with whole-number windows and no interpolation, so that a second implementation
agrees; ``runtime/docs/quality.md`` states them in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.quality_metrics import SCAN, Band

_BLOCK = 4  # pixels averaged before an edge is measured: about one grain of speckle
_TILE = 8  # side of a tile in pixels, and of JPEG's blocks
_STEEPEST = 95  # percentile of the steps between blocks; a picture's border holds fewer steps than the other 5 %
_WINDOW = 32  # side in pixels of the windows in which grains are measured: some grains wide, and locally alike
_HALF = 0.5
# Tiles whose mean is closer to either end are clipped: their spread says nothing about speckle.
_TILE_DARKEST, _TILE_BRIGHTEST = 20, 235
_EMPTY_UP_TO = 4  # mean of an empty tile: the background of a screen, or no echo at all
_LEAST_SPREAD = 0.5  # of a tile, in grey levels: half a step of the recording
_MASK_FROM = 127  # of 255: the middle, as masks that were scaled have grey edges
_BINS = 32  # of gCNR's histograms, 8 grey levels each: fine enough for the display, filled by a small lesion
_FEWEST = 64  # pixels of a lesion or its surround, two to a bin


def measure(levels: NDArray[np.uint8], names: Sequence[str] = ()) -> dict[str, float]:
    """Measure a scan (H, W) uint8 in its own pixels, grey by ITU-R BT.601 as Pillow's mode ``L``.

    ``names`` are rows of `quality_metrics.SCAN`, empty for all; NaN if the picture is too small or too empty.
    """
    return {name: _measures[name](levels) for name in names or SCAN}


def gcnr(levels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Measure gCNR of a masked area (H, W) of (H, W) uint8 against the tissue around it.

    The surround is the mask's bounding box, widened by half its width on each side and half its height above and below
    as far as the picture reaches, without the mask. Return 1 minus the overlap of the two histograms, 0 to 1
    (Rodriguez-Molares et al. 2020, equation 5); NaN if the lesion or its surround has fewer than 64 pixels.
    """
    if mask.shape != levels.shape:
        raise ValueError(f"mask has shape {mask.shape}, not {levels.shape}")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return math.nan
    tall, wide = (int(rows[-1] - rows[0]) + 1) // 2, (int(columns[-1] - columns[0]) + 1) // 2
    near = np.s_[max(0, rows[0] - tall) : rows[-1] + 1 + tall, max(0, columns[0] - wide) : columns[-1] + 1 + wide]
    lesion, surround = levels[near][mask[near]], levels[near][~mask[near]]
    if min(len(lesion), len(surround)) < _FEWEST:
        return math.nan
    shares = [np.bincount(part // (256 // _BINS), minlength=_BINS) / len(part) for part in (lesion, surround)]
    return 1 - float(np.minimum(shares[0], shares[1]).sum())


@dataclass(frozen=True)
class ScanQuality:
    """How good a scan is in its own pixels."""

    metrics: dict[str, float | None]  # value of each row of `quality_metrics.SCAN`; None if it cannot be measured
    lesion: dict[str, float | None] | None  # value of each row of `quality_metrics.LESION`; None without a mask
    flags: list[str]  # metrics beyond the faulty side of their band, as ``coverage_low``
    advice: list[str]  # a sentence for each flag
    severity: float  # how far the flagged values are out of their bands, in widths of the band, summed; 0 without flags


def assess_scan(
    scan: Image.Image, bands: Mapping[str, Band], mask: Image.Image | None = None, names: Sequence[str] = ()
) -> ScanQuality:
    """Measure a scan, part of a picture, against a bundle's bands; never flag a metric without a band.

    ``mask`` is bright where the lesion is; another size raises ValueError. See `measure` for ``names``.
    """
    levels = grey_levels(scan)
    values = dict.fromkeys(SCAN, math.nan) | measure(levels, names)
    flags, advice, severity = [], [], 0.0
    for name, metric in SCAN.items():
        if name not in bands or math.isnan(values[name]):
            continue
        low, high = bands[name].low, bands[name].high
        beyond = low - values[name] if metric.better == "higher" else values[name] - high
        if beyond > 0:
            flags.append(f"{name}_{'low' if metric.better == 'higher' else 'high'}")
            advice.append(metric.advice)
            severity += beyond / (high - low) if high > low else 1.0
    lesion = {"gcnr": gcnr(levels, grey_levels(mask) > _MASK_FROM)} if mask else None
    return ScanQuality(_without_nan(values), _without_nan(lesion) if lesion else None, flags, advice, severity)


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def squares(levels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Return the whole squares of a picture, from the upper left, as (rows, columns, side, side)."""
    down, across = levels.shape[0] // side, levels.shape[1] // side
    whole = levels[: down * side, : across * side].astype(np.float32)
    return whole.reshape(down, side, across, side).swapaxes(1, 2)


# ---- the metrics, each named as its row of `quality_metrics.SCAN`; NaN where it cannot be measured


def edge_sharpness(levels: NDArray[np.uint8]) -> float:
    """Measure the steepest edges, speckle averaged away, as a share of contrast; ignore black blocks."""
    blocks = squares(levels, _BLOCK).mean(axis=(2, 3), dtype=np.float32)
    seen = blocks > _EMPTY_UP_TO
    if min(blocks.shape) < 2:
        return math.nan
    inside = seen[:-1, :-1] & seen[1:, :-1] & seen[:-1, 1:]
    if not inside.any():
        return math.nan
    steps = np.hypot(blocks[1:, :-1] - blocks[:-1, :-1], blocks[:-1, 1:] - blocks[:-1, :-1])
    low, high = np.percentile(blocks[seen], (5, 95))
    return float(np.percentile(steps[inside], _STEEPEST) / (high - low)) if high > low else math.nan


def speckle_snr(levels: NDArray[np.uint8]) -> float:
    """Return the median over tiles of mean / standard deviation (Burckhardt 1978, on compressed levels)."""
    tiles = squares(levels, _TILE)
    if not tiles.size:
        return math.nan
    means, spread = tiles.mean(axis=(2, 3)), tiles.std(axis=(2, 3))
    used = (means >= _TILE_DARKEST) & (means <= _TILE_BRIGHTEST)
    return float(np.median(means[used] / np.maximum(spread[used], _LEAST_SPREAD))) if used.any() else math.nan


def grey_level_count(levels: NDArray[np.uint8]) -> float:
    """Return 2 to the entropy (bits) of the levels above black: how many equally frequent levels would say as much."""
    counts = np.bincount(levels.ravel(), minlength=256)[_EMPTY_UP_TO + 1 :]
    shares = counts[counts > 0] / max(1, counts.sum())
    return math.pow(2, -float(shares @ np.log2(shares))) if len(shares) else math.nan


def effective_resolution(levels: NDArray[np.uint8]) -> float:
    """Return shorter side / grain size: the full width at half maximum of the autocovariance (Wagner et al. 1983)."""
    windows = squares(levels, _WINDOW).reshape(-1, _WINDOW, _WINDOW)
    windows = windows - windows.mean(axis=(1, 2), keepdims=True)
    windows = windows[np.square(windows).mean(axis=(1, 2)) >= _LEAST_SPREAD**2]
    if not len(windows):
        return math.nan
    widths = [_half_maximum(windows), _half_maximum(windows.swapaxes(1, 2))]
    return float(min(levels.shape) / (sum(widths) / 2))


def _half_maximum(windows: NDArray[np.float32]) -> float:
    """Return the full width at half maximum, in pixels, of the median autocorrelation of windows' rows (N, 32, 32)."""
    power = np.einsum("nij,nij->n", windows, windows) / _WINDOW**2
    before = 1.0
    for lag in range(1, _WINDOW // 2 + 1):
        products = np.einsum("nij,nij->n", windows[:, :, lag:], windows[:, :, :-lag])
        now = float(np.median(products / (_WINDOW * (_WINDOW - lag)) / power))
        if now <= _HALF:
            return 2 * (lag - 1 + (before - _HALF) / (before - now))
        before = now
    return float(_WINDOW)


def blockiness(levels: NDArray[np.uint8]) -> float:
    """Return how much larger steps are on a grid of 8 pixels than off it; 1 for none (after Wang et al., ICIP 2002)."""
    if min(levels.shape) < 4 * _TILE:
        return math.nan
    signed = levels.astype(np.int16)
    ratios = []
    for axis in (0, 1):
        steps = np.abs(np.diff(signed, axis=axis)).mean(axis=1 - axis, dtype=np.float32)
        whole = steps[: len(steps) // _TILE * _TILE].reshape(-1, _TILE)
        on_grid = np.median(whole, axis=0)
        middle = float(np.median(on_grid))
        ratios.append(float(on_grid.max()) / middle if middle > 0 else 1.0)
    return sum(ratios) / 2


def coverage(levels: NDArray[np.uint8]) -> float:
    """Return the share of tiles that are brighter than black."""
    tiles = squares(levels, _TILE)
    return float((tiles.mean(axis=(2, 3)) > _EMPTY_UP_TO).mean()) if tiles.size else math.nan


# In lower case: the web page takes upper-case names of this module as constants.
_measures = {
    "edge_sharpness": edge_sharpness,
    "speckle_snr": speckle_snr,
    "grey_levels": grey_level_count,
    "effective_resolution": effective_resolution,
    "blockiness": blockiness,
    "coverage": coverage,
}
