"""How good a scan is in its own pixels, judged by a bundle's bands: what the network's small view cannot show.

`quality_metrics` measures the network's view and is what every answer carries; these cost more and are for
``sonoforge quality``.  Each definition is a few lines of whole-number windows without interpolation, so that a second
implementation agrees; ``runtime/docs/quality.md`` states them in words, with what moves each and what should not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.grey_levels import grey_levels
from sonoforge.runtime.images.lesion_contrast import gcnr
from sonoforge.runtime.images.quality_table import SCAN, Band

_BLOCK = 4  # pixels averaged before an edge is measured: about one grain of speckle
_TILE = 8  # side of a tile in pixels, and of JPEG's blocks
_STEEPEST = 95  # percentile of the steps between blocks that an edge is; the border of a picture has fewer
_WINDOW = 32  # side in pixels of the windows in which grains are measured: some grains wide, and locally alike
_HALF = 0.5
# Tiles whose mean lies nearer to either end are clipped: their spread says nothing of speckle.
_TILE_DARKEST = 20
_TILE_BRIGHTEST = 235
# A tile up to this mean is empty: the ground of a screen, or no echo at all.
_EMPTY_UP_TO = 4
_LEAST_SPREAD = 0.5  # of a tile, in grey levels: half a step of the recording
_MASK_FROM = 127  # of 255: the middle, as masks that were scaled have grey edges


def measure(levels: NDArray[np.uint8], names: Sequence[str] = ()) -> dict[str, float]:
    """Measure a scan.

    Examples:
        >>> import numpy as np
        >>> ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
        >>> found = measure(ramp)
        >>> round(found["grey_levels"]), round(found["coverage"], 2)
        (256, 1.0)

    Args:
        levels: (H, W) uint8, the scan alone in its own pixels, grey by ITU-R BT.601 as Pillow's mode ``L``.
        names: Metrics of `quality_table.SCAN` to measure; empty for all.

    Returns:
        The value of each of these metrics; NaN where the picture is too small or too empty for it.
    """
    return {name: _METRICS[name](levels) for name in names or _METRICS}


def _tiles(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(rows, 8, columns, 8): the whole tiles, from the upper left."""
    down, across = levels.shape[0] // _TILE, levels.shape[1] // _TILE
    whole = levels[: down * _TILE, : across * _TILE].astype(np.float32)
    return whole.reshape(down, _TILE, across, _TILE)


def _edge_sharpness(levels: NDArray[np.uint8]) -> float:
    """Steepness of the steepest edges, speckle averaged away, as a share of the contrast; black blocks do not count."""
    down, across = levels.shape[0] // _BLOCK, levels.shape[1] // _BLOCK
    whole = levels[: down * _BLOCK, : across * _BLOCK]
    blocks = whole.reshape(down, _BLOCK, across, _BLOCK).mean(axis=(1, 3), dtype=np.float32)
    seen = blocks > _EMPTY_UP_TO
    if min(blocks.shape) < 2:
        return math.nan
    inside = seen[:-1, :-1] & seen[1:, :-1] & seen[:-1, 1:]
    if not inside.any():
        return math.nan
    steps = np.hypot(blocks[1:, :-1] - blocks[:-1, :-1], blocks[:-1, 1:] - blocks[:-1, :-1])
    low, high = np.percentile(blocks[seen], (5, 95))
    return float(np.percentile(steps[inside], _STEEPEST) / (high - low)) if high > low else math.nan


def _speckle_snr(levels: NDArray[np.uint8]) -> float:
    """Median over the tiles of mean / standard deviation (Burckhardt 1978, on the compressed levels of the display)."""
    tiles = _tiles(levels)
    if not tiles.size:
        return math.nan
    means, spread = tiles.mean(axis=(1, 3)), tiles.std(axis=(1, 3))
    used = (means >= _TILE_DARKEST) & (means <= _TILE_BRIGHTEST)
    return float(np.median(means[used] / np.maximum(spread[used], _LEAST_SPREAD))) if used.any() else math.nan


def _grey_levels(levels: NDArray[np.uint8]) -> float:
    """2 to the entropy (in bits) of the levels above black: how many equally frequent levels would say as much."""
    counts = np.bincount(levels.ravel(), minlength=256)[_EMPTY_UP_TO + 1 :]
    shares = counts[counts > 0] / max(1, counts.sum())
    return math.pow(2, -float(shares @ np.log2(shares))) if len(shares) else math.nan


def _effective_resolution(levels: NDArray[np.uint8]) -> float:
    """Shorter side / size of a grain: the full width at half maximum of the autocovariance (Wagner et al. 1983)."""
    down, across = levels.shape[0] // _WINDOW, levels.shape[1] // _WINDOW
    whole = levels[: down * _WINDOW, : across * _WINDOW].astype(np.float32)
    windows = whole.reshape(down, _WINDOW, across, _WINDOW).swapaxes(1, 2).reshape(-1, _WINDOW, _WINDOW)
    windows = windows - windows.mean(axis=(1, 2), keepdims=True)
    windows = windows[np.square(windows).mean(axis=(1, 2)) >= _LEAST_SPREAD**2]
    if not len(windows):
        return math.nan
    widths = [_half_maximum(windows), _half_maximum(windows.swapaxes(1, 2))]
    return float(min(levels.shape) / (sum(widths) / 2))


def _half_maximum(windows: NDArray[np.float32]) -> float:
    """Full width at half maximum, in pixels, of the median autocorrelation of windows (N, 32, 32) along their rows."""
    power = np.einsum("nij,nij->n", windows, windows) / _WINDOW**2
    before = 1.0
    for lag in range(1, _WINDOW // 2 + 1):
        products = np.einsum("nij,nij->n", windows[:, :, lag:], windows[:, :, :-lag])
        now = float(np.median(products / (_WINDOW * (_WINDOW - lag)) / power))
        if now <= _HALF:
            return 2 * (lag - 1 + (before - _HALF) / (before - now))
        before = now
    return float(_WINDOW)


def _blockiness(levels: NDArray[np.uint8]) -> float:
    """How much larger the steps are on one grid of 8 pixels than off it; 1 for none (after Wang et al., ICIP 2002)."""
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


def _coverage(levels: NDArray[np.uint8]) -> float:
    """Share of the tiles that are brighter than black."""
    tiles = _tiles(levels)
    return float((tiles.mean(axis=(1, 3)) > _EMPTY_UP_TO).mean()) if tiles.size else math.nan


_METRICS: dict[str, Callable[[NDArray[np.uint8]], float]] = {
    "edge_sharpness": _edge_sharpness,
    "speckle_snr": _speckle_snr,
    "grey_levels": _grey_levels,
    "effective_resolution": _effective_resolution,
    "blockiness": _blockiness,
    "coverage": _coverage,
}


@dataclass(frozen=True)
class ScanQuality:
    """How good a scan is in its own pixels."""

    metrics: dict[str, float | None]  # value of each metric of `quality_table.SCAN`; None where it cannot be measured
    # Value of each metric of `quality_table.LESION`; None without a mask of the scan's size.
    lesion: dict[str, float | None] | None
    flags: list[str]  # metrics beyond the faulty side of their band, as ``coverage_low``
    advice: list[str]  # a sentence for each flag
    severity: float  # sum over the flags of how far out of its band a value is, in widths of the band; 0 without flags


def assess_scan(
    scan: Image.Image, bands: Mapping[str, Band], mask: Image.Image | None = None, names: Sequence[str] = ()
) -> ScanQuality:
    """Measure a scan, the part of a picture, against the bands of a bundle; a metric without a band is never flagged.

    ``mask`` is bright where the lesion is; one of another size is a `ValueError`.  ``names`` as of `measure`.
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
