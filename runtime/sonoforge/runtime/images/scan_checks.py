"""Check the network's view for more than quality: how the probe was held, grain, colour, two scans side by side.

A scan has most detail at the top; no echo comes back where the probe does not touch the skin.  A beam resolves worse
across than along itself, so each grain of speckle is flat (Wagner et al., Statistics of speckle in ultrasound B-scans,
IEEE Trans. Sonics Ultrason. 30 (1983)).  Two scans in one picture meet in a column that nothing crosses: neighbours
there differ more than elsewhere, and the right side says nothing about the left (``runtime/docs/burned-in-marks.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ScanKind = Literal["B-mode", "colour overlay", "two scans"]

ROWS = 8
"""Number of bands of rows whose detail is measured, from top to bottom."""
_LEAST_DETAIL = 0.5  # in grey levels: keeps the logarithm of a band of one level finite
_DARK = 12  # a column with a lower mean has no echo; 5, 8 and 16 separated as well on BUSI
_NEAR_FIELD = 0.25  # share of the depth, from the top, that a column is not judged by: it shines without contact, too
_GRAIN_WINDOW = 9  # side in pixels of the square whose mean is subtracted: some grains in a view of 224 pixels
_LEAST_VARIANCE = 1e-3  # in squared grey levels: keeps a picture of one level at 0
_LEAST_COLOUR = 24  # smallest difference between a pixel's channels, in grey levels, that counts as colour

_MIDDLE = (0.3, 0.7)  # where two scans meet, as shares of the width
# Differences count up to 4 times the row's typical one, so that a line of dots is not a seam; likeness compares columns
# 3 pixels apart, as levels minus their mean along 15 rows, up to 2.5 standard deviations.
_CLIPPED, _ACROSS, _WINDOW, _STRONGEST = 4, 3, 15, 2.5
# Of the logarithm of the difference, of the loss of likeness, and a constant; by logistic regression on BUSI, BUS-BRA
# and BrEaST, each scan alone against two side by side.
_WEIGHTS = (10.3, 11.8, -9.4)
# A gap: columns darker than this share of the median, at least two; each side's mean is above that share of it.
_GAP_DARK, _BOTH_LIT, _NARROWEST_GAP = 0.12, 0.3, 2


def profile(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the detail of bands of rows of views (N, S, S, C) uint8, minus the detail of the mirrored bands.

    (N, `ROWS`): p - reversed(p), with p the logarithm of 0.5 plus the mean, over band i (rows ``floor(i S / ROWS)`` up
    to the next) and the colours, of a pixel's absolute differences from those above and below, added.
    """
    above, below = pixels[:, :-1], pixels[:, 1:]
    steps = (np.maximum(above, below) - np.minimum(above, below)).reshape(*above.shape[:2], -1)
    rows = np.zeros(pixels.shape[:2], np.int64)
    rows[:, :-1] = steps.sum(axis=2, dtype=np.uint32)
    rows[:, 1:] += rows[:, :-1]
    starts = np.arange(ROWS + 1) * len(pixels[0]) // ROWS
    bands = np.add.reduceat(rows, starts[:-1], axis=1) / (np.diff(starts) * pixels[0, 0].size)
    detail = np.log(_LEAST_DETAIL + bands)
    return np.asarray(detail - detail[:, ::-1])


def upright_score(pixels: NDArray[np.uint8], weights: Sequence[float]) -> NDArray[np.float64]:
    """Return ``profile . weights`` (N,): about 1 for an upright scan, and the negative for the same scan turned over.

    Below 0 an image is more like the training images upside down.
    """
    return np.asarray(profile(pixels) @ np.asarray(weights, dtype=np.float64))


def dark_columns(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share (N,) of columns of (N, S, S, C) that are dark (mean below 12) below the upper quarter."""
    judged = pixels[:, round(_NEAR_FIELD * pixels.shape[1]) :]
    sums = judged.sum(axis=1, dtype=np.uint32).sum(axis=2)
    return np.asarray((sums < _DARK * judged.shape[3] * judged.shape[1]).mean(axis=1))


def flatness(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return (N,) how much wider than deep the grain is in the network's views (N, S, S, C) uint8.

    Values are -2 to 2: the correlation of neighbours across minus the correlation of neighbours along the depth. It
    uses grey levels (mean of the colours) minus their mean in the surrounding 9 x 9 pixels, with the border continued
    outwards. It is 0 for a picture of one level. One channel stands for three equal ones.
    """
    times = 3 // pixels.shape[3]
    return np.array([_image_flatness(times * image.sum(axis=2, dtype=np.int32)) for image in pixels], dtype=np.float64)


def _image_flatness(levels: NDArray[np.int32]) -> float:
    """Measure the `flatness` of the colours' sums (S, S)."""
    padded = np.pad(levels, _GRAIN_WINDOW // 2, mode="edge")
    # For views up to 1600 pixels a side 32 bits hold all sums; beyond, they wrap around but their differences do not.
    sums = np.pad(padded.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32), ((1, 0), (1, 0)))
    side = _GRAIN_WINDOW
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    grain = (levels - inside / side**2) / 3
    variance = np.square(grain).mean() + _LEAST_VARIANCE
    across, along = (grain[:, 1:] * grain[:, :-1]).mean(), (grain[1:] * grain[:-1]).mean()
    return float((across - along) / variance)


def coloured_share(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share (N,), 0..1, of each view (N, S, S, C) uint8 where channels differ by more than 24 levels.

    C is 3, or 1 for a grey view, which has no colour.
    """
    if pixels.shape[-1] == 1:
        return np.zeros(len(pixels))
    red, green, blue = np.moveaxis(pixels, -1, 0)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return np.asarray((spread > _LEAST_COLOUR).mean(axis=(1, 2)))


def name_kind(levels: NDArray[np.uint8], *, overlay: bool) -> ScanKind:
    """Name a scan's kind from the network's view in grey levels (S, S) uint8, and whether it has a colour overlay."""
    if overlay:
        return "colour overlay"
    return "two scans" if meets_in_a_seam(levels) else "B-mode"


def meets_in_a_seam(levels: NDArray[np.uint8]) -> bool:
    """Whether the network's view (S, S) uint8, in grey levels, shows two scans side by side."""
    columns = levels.mean(axis=0, dtype=np.float32)
    first, last = (int(share * len(columns)) for share in _MIDDLE)
    typical = float(_median(columns))
    dark = first + np.flatnonzero(columns[first:last] < max(4.0, _GAP_DARK * typical))
    if len(dark) >= _NARROWEST_GAP:
        darker_side = min(columns[: dark[0]].mean(), columns[dark[-1] + 1 :].mean())
        if darker_side > _BOTH_LIT * typical:
            return True
    return _seam_score(levels) > 0


def _seam_score(levels: NDArray[np.uint8]) -> float:
    """Score the strongest column in the middle of grey levels (S, S); above 0 it is a seam."""
    height, width = levels.shape
    first, last = (int(share * width) for share in _MIDDLE)
    grey = levels.astype(np.int16)  # sums of 16 levels fit, and cost a fraction of those of 32 bits
    steps = np.abs(grey[:, 1:] - grey[:, :-1])
    difference = steps / (_median(steps).astype(np.float32)[:, None] + 1)
    difference = np.clip(difference, 0, _CLIPPED, out=difference).mean(axis=0)  # sooner than numpy.minimum
    difference /= max(float(_median(difference)), 1e-9)
    column = first + int(np.argmax(difference[first:last]))
    reach = _WINDOW // 2
    eight = grey.take(np.arange(-reach, height + reach), axis=0, mode="clip")
    for rows in (1, 2, 4):
        eight = eight[:-rows] + eight[rows:]
    # Two sums of eight rows both have the level's own, so that this is 15 times its detail.
    detail = (16 * grey - eight[:height] - eight[reach:]).astype(np.float32)
    centred = detail - (np.einsum("ij->i", detail) / np.float32(width))[:, None]  # matmul would start threads
    deviations = np.sqrt(np.einsum("ij,ij->i", centred, centred)[:, None] / np.float32(width))
    detail *= 1 / (deviations + 2 * _WINDOW)
    np.clip(detail, -_STRONGEST, _STRONGEST, out=detail)
    detail -= detail.mean(axis=0)
    norms = np.sqrt(np.einsum("ij,ij->j", detail, detail)) + 1e-3
    products = np.einsum("ij,ij->j", detail[:, :-_ACROSS], detail[:, _ACROSS:])
    likeness = products / (norms[:-_ACROSS] * norms[_ACROSS:])
    # The lowest likeness of columns on both sides of the seam.
    loss = float(_median(likeness)) - float(likeness[column + 1 - _ACROSS : column + 1].min())
    features = (float(np.log(max(difference[column], 1e-9))), loss, 1.0)
    return sum(weight * value for weight, value in zip(_WEIGHTS, features, strict=True))


def _median(values: NDArray[Any]) -> NDArray[Any]:
    """Return the median along the last axis; `numpy.median` would import masked arrays first."""
    ordered, size = np.sort(values, axis=-1), values.shape[-1]
    return np.asarray((ordered[..., (size - 1) // 2] + ordered[..., size // 2]) / 2)
