"""What kind of picture a scan is: one plain B-mode scan, one under a colour overlay, or two side by side.

Two scans in one picture meet in a column across which nothing goes on: neighbours there differ by more than elsewhere,
in rows of all depths, and what lies right of it tells nothing of what lies left, while tissue, as wide as the beam,
reaches over any column within a scan.  Found and missed are counted in ``runtime/docs/burned-in-marks.md``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ScanKind = Literal["B-mode", "colour overlay", "two scans"]

_MIDDLE = (0.3, 0.7)
"""Where two scans meet, as shares of the width."""
_CLIPPED, _ACROSS, _WINDOW, _STRONGEST = 4, 3, 15, 2.5
"""Differences count up to 4 times the row's typical one, so that a line of dots is no seam; likeness is that of columns
3 pixels apart, of levels less their mean along 15 rows, up to 2.5 standard deviations."""
_WEIGHTS = (10.3, 11.8, -9.4)
"""Of the logarithm of the difference, of the loss of likeness, and a constant; by logistic regression on BUSI, BUS-BRA
and BrEaST, each scan alone against two side by side."""
_DARK, _BOTH_LIT, _NARROWEST_GAP = 0.12, 0.3, 2
"""A gap: columns darker than this share of the usual, at least two, each side brighter on average than that share."""


def name_kind(levels: NDArray[np.uint8], *, overlay: bool) -> ScanKind:
    """Name the kind of a scan by the network's view (S, S) uint8 and whether colours lie over it."""
    if overlay:
        return "colour overlay"
    return "two scans" if meets_in_a_seam(levels) else "B-mode"


def meets_in_a_seam(levels: NDArray[np.uint8]) -> bool:
    """Whether two scans stand side by side in the network's view (S, S) uint8, of grey levels."""
    return _has_gap(levels.mean(axis=0, dtype=np.float32)) or seam_score(levels) > 0


def _has_gap(columns: NDArray[np.float32]) -> bool:
    """Whether dark columns part a picture in two, from the mean level of each column (S,)."""
    first, last = (int(share * len(columns)) for share in _MIDDLE)
    usual = float(_median(columns))
    dark = first + np.flatnonzero(columns[first:last] < max(4.0, _DARK * usual))
    if len(dark) < _NARROWEST_GAP:
        return False
    sides = columns[: dark[0]].mean(), columns[dark[-1] + 1 :].mean()
    return bool(min(sides) > _BOTH_LIT * usual)


def seam_score(levels: NDArray[np.uint8]) -> float:
    """Return how much the strongest column of the middle looks like a seam, of grey levels (S, S); above 0 is one."""
    height, width = levels.shape
    first, last = (int(share * width) for share in _MIDDLE)
    grey = levels.astype(np.int16)  # sums of 15 levels fit, and cost a fraction of what those of 32 bits do
    steps = np.abs(np.diff(grey, axis=1))
    usual = _median(steps).astype(np.float32)[:, None] + 1
    difference = np.minimum(steps / usual, _CLIPPED).mean(axis=0)
    difference /= max(float(_median(difference)), 1e-9)
    column = first + int(np.argmax(difference[first:last]))
    half = _WINDOW // 2
    padded = np.empty((height + 2 * half, width), np.int16)  # `numpy.pad` takes as long as the sums
    padded[:half], padded[half:-half], padded[-half:] = grey[0], grey, grey[-1]
    sums = padded[:height] + padded[1 : height + 1]
    for row in range(2, _WINDOW):
        sums += padded[row : row + height]
    detail = (grey * _WINDOW - sums).astype(np.float32) / _WINDOW
    detail /= detail.std(axis=1, keepdims=True) + 2
    np.clip(detail, -_STRONGEST, _STRONGEST, out=detail)
    detail -= detail.mean(axis=0)
    norms = np.sqrt(np.einsum("ij,ij->j", detail, detail)) + 1e-3
    products = np.einsum("ij,ij->j", detail[:, :-_ACROSS], detail[:, _ACROSS:])
    likeness = products / (norms[:-_ACROSS] * norms[_ACROSS:])
    typical = float(_median(likeness))
    loss = typical - float(likeness[column + 1 - _ACROSS : column + 1].min())  # of the pairs on both sides of it
    features = (float(np.log(max(difference[column], 1e-9))), loss, 1.0)
    return sum(weight * value for weight, value in zip(_WEIGHTS, features, strict=True))


def _median(values: NDArray[Any]) -> NDArray[Any]:
    """Return the median along the last axis; `numpy.median` would import masked arrays first."""
    ordered, size = np.sort(values, axis=-1), values.shape[-1]
    return np.asarray((ordered[..., (size - 1) // 2] + ordered[..., size // 2]) / 2)
