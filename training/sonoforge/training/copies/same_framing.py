"""Find candidates with equal framing: the whole picture is alike, at most shifted a little or mirrored, as in a clip.

Pictures are resized to (64, 64) and their slow variation is removed.  The signs of the 16x16 lowest DCT frequencies
(255 bits; Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.1, compared
with zero) are computed at 25 shifts and mirrored, and looked up in an inverted file. The largest normalised
cross-correlation over all shifts up to 6 pixels then decides (Lewis, "Fast normalized cross-correlation", 1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from sonoforge.training.copies.cells import Cells, rank, sort_into_cells, visits
from sonoforge.training.copies.local_features import LOOKS
from sonoforge.training.copies.pictures import Look, Picture
from sonoforge.training.progress import in_threads

_SIDE = 64
_SMOOTH = 4.0  # pixels; half the scale of the layers that unrelated breast scans share
_FLAT = 0.5  # grey levels; rounding to 8 bits alone leaves 1/sqrt(12) = 0.29
_LARGEST_SHIFT = 6
_SHIFTS = np.arange(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1)
_PADDED = fft.next_fast_len(_SIDE + _LARGEST_SHIFT, real=True)
_HASH_SIDE = 16
_HASH_SHIFTS = (-4, -2, 0, 2, 4)
_HASH_AGREEMENT = 0.25  # of the 255 signs, (agreeing - differing) / all; BUSI's repeated frames have 0.32 and more
_CORRELATION = 0.5  # unrelated breast scans stay below 0.45
_BITS = _HASH_SIDE**2 - 1
_BASIS = fft.dct(np.eye(_SIDE), axis=0, norm="ortho")[:_HASH_SIDE]
_MOST = 16  # candidates for each picture by their hash
_HASHES_A_CELL = 256
_CELLS_OF_A_HASH = 4
_BLOCK = 256

Detail = NDArray[np.float64]
_AGREEING = np.dtype([("first", np.int64), ("second", np.int64), ("agreement", np.float32)])


def find_same_framing(indexed: Sequence[Picture], asked: Sequence[Picture] | None = None) -> NDArray[np.int64]:
    """Return (3, P) candidates: index of one, index of the other (larger within a set), place in `LOOKS`."""
    first = _squeeze(indexed)
    second = first if asked is None else _squeeze(asked)
    if not len(first):
        return np.empty((3, 0), np.int64)
    blocks = (first[start : start + _BLOCK] for start in range(0, len(first), _BLOCK))
    hashes = np.concatenate([_signs(_fine_detail(block), _BASIS, _BASIS) for block in blocks])
    index = sort_into_cells(hashes, _HASHES_A_CELL, np.arange(len(hashes)))
    parts = []
    for mirrored in (False, True):
        target = second[:, :, ::-1] if mirrored else second
        one, other = _hash_candidates(index, target, same=asked is None)
        near = _correlations(first, target, one, other) >= _CORRELATION
        look = LOOKS.index(Look(mirrored=mirrored, inverted=False))
        parts.append(np.stack((one[near], other[near], np.full(int(near.sum()), look))))
    return np.concatenate(parts, axis=1)


def _correlations(
    first: NDArray[np.uint8], second: NDArray[np.uint8], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the (P,) `_best_correlation` of pairs of resized pictures at the given places."""

    def correlate(start: int) -> NDArray[np.float64]:
        some = slice(start, start + _BLOCK)
        return _best_correlation(_Shifted.of(first, one[some], 1), _Shifted.of(second, other[some], -1))

    return np.concatenate([np.empty(0), *in_threads(correlate, range(0, len(one), _BLOCK))])


def _squeeze(pictures: Sequence[Picture]) -> NDArray[np.uint8]:
    small = [cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
    return np.array(small, np.uint8).reshape(-1, _SIDE, _SIDE)


def _fine_detail(squeezed: NDArray[np.uint8]) -> Detail:
    """Remove slow variation and scale to unit energy: (N, 64, 64), all zero for a blank picture."""
    pixels = squeezed.astype(np.float64)
    detail: Detail = pixels - ndimage.gaussian_filter(pixels, (0, _SMOOTH, _SMOOTH), mode="nearest")
    detail -= detail.mean(axis=(1, 2), keepdims=True)
    spread = detail.std(axis=(1, 2), keepdims=True)
    return np.where(spread > _FLAT, detail / (_SIDE * np.maximum(spread, _FLAT)), 0.0)


def _hash_candidates(
    index: Cells, second: NDArray[np.uint8], *, same: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the best pairs of each picture whose hashes agree at one of the shifts; blank ones have no hash."""
    moved = [_BASIS @ np.eye(_SIDE, k=-shift) for shift in _HASH_SHIFTS]  # the transform of the shifted picture

    def look_up(start: int) -> NDArray[np.void]:
        part = _fine_detail(second[start : start + _BLOCK])
        shifted = np.concatenate([_signs(part, rows, columns) for rows in moved for columns in moved])
        found = [np.empty(0, _AGREEING)]
        for cell, own in visits(index, shifted, _CELLS_OF_A_HASH):
            members = slice(index.start[cell], index.start[cell + 1])
            agreement = shifted[own] @ index.vectors[members].T
            a, b = np.nonzero(agreement >= _HASH_AGREEMENT * _BITS)
            pairs = np.empty(len(a), _AGREEING)
            pairs["second"], pairs["first"] = start + own[a] % len(part), index.place[members][b]
            pairs["agreement"] = agreement[a, b]
            found.append(pairs[(pairs["first"] != pairs["second"]) | (not same)])
        return np.concatenate(found)

    found = in_threads(look_up, range(0, len(second), _BLOCK))
    pairs = np.concatenate([np.empty(0, _AGREEING), *found])
    pairs = pairs[np.argsort(-pairs["agreement"], kind="stable")]
    each = np.stack((pairs["first"], pairs["second"]))
    each = each[:, np.sort(np.unique(each, axis=1, return_index=True)[1])]  # the best of all shifts
    each = each[:, rank(each[0]) < _MOST]
    # Either picture may be the shifted one; each pair once.
    first_of, second_of = np.unique(np.sort(each, axis=0) if same else each, axis=1)
    return first_of, second_of


def _signs(detail: Detail, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float32]:
    coefficients = (rows @ detail @ columns.T).reshape(len(detail), _HASH_SIDE**2)
    return np.sign(coefficients[:, 1:]).astype(np.float32)


class _Shifted(NamedTuple):
    """Precomputed sums for the correlations of P pairs at K x K shifts, once for each of the U different pictures."""

    picture: NDArray[np.int64]  # (P,) its place in the other fields
    spectrum: NDArray[np.complex128]
    sums: NDArray[np.float64]  # (U, K, K) over the overlap
    energy: NDArray[np.float64]  # (U, K, K) the same for squares

    @classmethod
    def of(cls, squeezed: NDArray[np.uint8], places: NDArray[np.int64], sign: int) -> _Shifted:
        """Measure the pictures at the places (P,); ``sign`` is -1 for the side that is not shifted."""
        once, picture = np.unique(places, return_inverse=True)
        detail = _fine_detail(squeezed[once])
        shifts = sign * _SHIFTS
        spectrum = fft.rfft2(detail, (_PADDED, _PADDED))
        return cls(picture, spectrum, _overlap_sums(detail, shifts), _overlap_sums(detail**2, shifts))


def _best_correlation(first: _Shifted, second: _Shifted) -> NDArray[np.float64]:
    """Return the (P,) largest normalised cross-correlations over all shifts up to `_LARGEST_SHIFT`."""
    spectrum = first.spectrum[first.picture] * second.spectrum[second.picture].conj()
    # products[p, i, j] = sum over x of first[x + shift] * second[x]
    products = fft.irfft2(spectrum, (_PADDED, _PADDED))[:, _SHIFTS % _PADDED][:, :, _SHIFTS % _PADDED]
    overlap = _SIDE - np.abs(_SHIFTS)
    area = overlap[:, None] * overlap[None, :]
    variance_a = (first.energy - first.sums**2 / area)[first.picture]
    variance_b = (second.energy - second.sums**2 / area)[second.picture]
    # An overlap that leaves out nearly all of an image's detail (unit energy) proves nothing.
    sound = (variance_a > 0.1) & (variance_b > 0.1)
    scale = np.sqrt(np.where(sound, variance_a * variance_b, 1.0))
    means = first.sums[first.picture] * second.sums[second.picture] / area
    correlation = np.where(sound, (products - means) / scale, 0.0)
    best: NDArray[np.float64] = correlation.reshape(len(products), -1).max(axis=1)
    return best


def _overlap_sums(images: Detail, shifts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (P, K, K) sums over the part of each image that overlaps another one shifted by (shift, shift)."""
    integral = np.zeros((len(images), _SIDE + 1, _SIDE + 1))
    integral[:, 1:, 1:] = images.cumsum(axis=1).cumsum(axis=2)
    start, stop = np.maximum(shifts, 0), _SIDE + np.minimum(shifts, 0)
    rows = integral[:, stop] - integral[:, start]
    sums: NDArray[np.float64] = rows[:, :, stop] - rows[:, :, start]
    return sums
