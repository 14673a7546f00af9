"""Candidates of equal framing: the whole picture is alike, at most shifted a little or mirrored.

A neighbouring frame of a clip moves a little everywhere: local features change, the whole hardly does.  Pictures are
squeezed to (64, 64), their slow variation is removed, and two steps follow:

1. A perceptual hash: the signs of the 16x16 lowest DCT frequencies (255 bits; the mean is left out), as in Zauner,
   "Implementation and benchmarking of perceptual image hash functions" (2010), section 3.2.1, but with the sign against
   zero.  Random pairs agree in half the bits.  Hashes of one side are taken at 25 shifts and mirrored.
2. The largest normalised cross-correlation over all shifts up to 6 pixels, computed exactly over the overlap (Lewis,
   "Fast normalized cross-correlation", 1995: FFT for the products, box sums for the moments).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from sonoforge.training.copies.local_features import LOOKS
from sonoforge.training.copies.pictures import Look, Picture

_SIDE = 64
_SMOOTH = 4.0  # pixels; half the scale of the layers that unrelated breast scans share
_FLAT = 0.5  # grey levels; rounding to 8 bits alone leaves 1/sqrt(12) = 0.29
_LARGEST_SHIFT = 6
_HASH_SIDE = 16
_HASH_SHIFTS = (-4, -2, 0, 2, 4)
_HASH_AGREEMENT = 0.25  # of the 255 signs, (agreeing - differing) / all; BUSI's repeated frames have 0.32 and more
_CORRELATION = 0.5  # unrelated breast scans stay below 0.45
_MOST = 16  # candidates of each picture by their hash
_BLOCK = 512

Detail = NDArray[np.float64]


def find_same_framing(indexed: Sequence[Picture], asked: Sequence[Picture] | None = None) -> NDArray[np.int64]:
    """Return (3, P) candidates: index of one, index of the other (larger within a set), place of the look in `LOOKS`.

    Time grows with the square of the number of pictures, with a small factor: one matrix product a pair.
    """
    detail = _fine_detail(indexed)
    other = detail if asked is None else _fine_detail(asked)
    parts = []
    for mirrored in (False, True):
        target = other[:, :, ::-1] if mirrored else other
        first, second = _hash_candidates(detail, target, same=asked is None)
        scores = [np.empty(0)]
        for start in range(0, len(first), _BLOCK):
            chunk = slice(start, start + _BLOCK)
            scores.append(_best_correlation(detail[first[chunk]], target[second[chunk]]))
        near = np.concatenate(scores) >= _CORRELATION
        look = LOOKS.index(Look(mirrored=mirrored, inverted=False))
        parts.append(np.stack((first[near], second[near], np.full(int(near.sum()), look))))
    return np.concatenate(parts, axis=1)


def _fine_detail(pictures: Sequence[Picture]) -> Detail:
    """Squeeze, remove slow variation, scale to unit energy: (N, 64, 64), all zero for a blank picture."""
    small = [cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
    pixels = np.array(small, np.float64).reshape(-1, _SIDE, _SIDE)
    detail: Detail = pixels - ndimage.gaussian_filter(pixels, (0, _SMOOTH, _SMOOTH), mode="nearest")
    detail -= detail.mean(axis=(1, 2), keepdims=True)
    spread = detail.std(axis=(1, 2), keepdims=True)
    return np.where(spread > _FLAT, detail / (_SIDE * np.maximum(spread, _FLAT)), 0.0)


def _hash_candidates(first: Detail, second: Detail, *, same: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs whose hashes agree at one of the shifts, the best of each picture; blank ones have no hash."""
    basis = fft.dct(np.eye(_SIDE), axis=0, norm="ortho")[:_HASH_SIDE]
    moved = [basis @ np.eye(_SIDE, k=-shift) for shift in _HASH_SHIFTS]  # the transform of the shifted picture
    fixed = _signs(first, basis, basis)
    shifted = [_signs(second, rows, columns) for rows in moved for columns in moved]
    bits = fixed.shape[1]
    pairs = [np.empty((2, 0), np.int64)]
    for start in range(0, len(first), _BLOCK):
        block = fixed[start : start + _BLOCK]
        best = np.full((len(block), len(second)), -1.0, np.float32)
        for signs in shifted:
            np.maximum(best, block @ signs.T, out=best)
        if same:
            best[np.arange(len(block)), start + np.arange(len(block))] = -1.0
        if len(second) > _MOST:
            lowest = -np.partition(-best, _MOST - 1, axis=1)[:, _MOST - 1]
            best[best < lowest[:, None]] = -1.0
        a, b = np.nonzero(best >= _HASH_AGREEMENT * bits)
        pairs.append(np.stack((a + start, b)))
    found = np.concatenate(pairs, axis=1)
    if same:  # either picture may be the shifted one; each pair once
        found = np.unique(np.sort(found, axis=0), axis=1)
    return found[0], found[1]


def _signs(detail: Detail, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float32]:
    coefficients = (rows @ detail @ columns.T).reshape(len(detail), _HASH_SIDE**2)
    return np.sign(coefficients[:, 1:]).astype(np.float32)


def _best_correlation(first: Detail, second: Detail) -> NDArray[np.float64]:
    """(P,) largest normalised cross-correlation over all shifts up to `_LARGEST_SHIFT` of P aligned pairs."""
    shifts = np.arange(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1)
    size = fft.next_fast_len(_SIDE + _LARGEST_SHIFT, real=True)
    spectrum = fft.rfft2(first, (size, size)) * fft.rfft2(second, (size, size)).conj()
    # products[p, i, j] = sum over x of first[x + shift] * second[x]
    products = fft.irfft2(spectrum, (size, size))[:, shifts % size][:, :, shifts % size]
    overlap = _SIDE - np.abs(shifts)
    area = overlap[:, None] * overlap[None, :]
    sum_a, energy_a = _overlap_sums(first, shifts), _overlap_sums(first**2, shifts)
    sum_b, energy_b = _overlap_sums(second, -shifts), _overlap_sums(second**2, -shifts)
    variance_a = energy_a - sum_a**2 / area
    variance_b = energy_b - sum_b**2 / area
    # An overlap that leaves out nearly all of an image's detail (unit energy) proves nothing.
    sound = (variance_a > 0.1) & (variance_b > 0.1)
    scale = np.sqrt(np.where(sound, variance_a * variance_b, 1.0))
    correlation = np.where(sound, (products - sum_a * sum_b / area) / scale, 0.0)
    best: NDArray[np.float64] = correlation.reshape(len(first), -1).max(axis=1)
    return best


def _overlap_sums(images: Detail, shifts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(P, K, K) sums over the part of each image that overlaps another one shifted by (shift, shift)."""
    integral = np.zeros((len(images), _SIDE + 1, _SIDE + 1))
    integral[:, 1:, 1:] = images.cumsum(axis=1).cumsum(axis=2)
    start, stop = np.maximum(shifts, 0), _SIDE + np.minimum(shifts, 0)
    rows = integral[:, stop] - integral[:, start]
    sums: NDArray[np.float64] = rows[:, :, stop] - rows[:, :, start]
    return sums
