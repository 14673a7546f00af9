"""Find images that show the same scan: equal, brighter or darker, mirrored, shifted, annotated, or the next frame.

Everything is measured on (64, 64) grey thumbnails whose slow variation is removed (`fine_detail`): what two
different patients' scans share is smooth (bright skin above, dark muscle below), what two frames of one
scan share is not.  Two steps:

1. Candidates by a perceptual hash: the signs of the 16x16 lowest DCT frequencies (255 bits; the mean is left
   out), as in Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010), section
   3.2.1, but with the sign against zero.  Random pairs agree in half the bits.  Hashes of one side are taken
   at 25 shifts and mirrored.
2. Confirmation: the largest zero-mean normalised cross-correlation over all shifts up to 6 pixels (9 % of the
   side), plain and mirrored, computed exactly over the overlap (Lewis, "Fast normalized cross-correlation",
   1995: FFT for the products, box sums for the moments).

Both are unchanged by a linear change of brightness and contrast.  Pairs are joined by union-find.

Why `THRESHOLD` is 0.6: on BUSI the correlations of all 303 810 pairs fall into two groups, unrelated pairs
below 0.45 and repeated scans above 0.75; 232 pairs lie above 0.6 and only 10 between 0.5 and 0.6.  All
borderline pairs were inspected: every one above 0.6 shows the same tissue; between 0.45 and 0.56 there are both
rescaled views of one lesion and chance resemblances.  Thresholds from 0.5 to 0.65 give 590 to 598 groups.
Correlation of the plain thumbnails has no such gap: below 0.9 it joins unrelated scans in chains.

Limits: a copy cropped or stretched by more than a few per cent is not found.  Where all images share a
strong outline (a round field of view, a sector), the outline alone correlates; see ``shares_layout``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from sonoforge.training.data.fingerprints import SIDE, Thumbnails

THRESHOLD = 0.6
SENSITIVITY_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)

_SMOOTH = 4.0  # pixels of a thumbnail; half the scale of the layers that unrelated breast scans share
_FLAT = 0.5  # grey levels; rounding to 8 bits alone leaves 1/sqrt(12) = 0.29
_LARGEST_SHIFT = 6
_HASH_SIDE = 16
_HASH_SHIFTS = (-4, -2, 0, 2, 4)
# Of the 255 signs, (agreeing - differing) / all.  The lowest of BUSI's pairs above THRESHOLD has 0.32;
# 0.25 leaves 6 700 of 303 810 pairs to confirm.
_HASH_AGREEMENT = 0.25
_BLOCK = 512

Detail = NDArray[np.float64]


class Pairs(NamedTuple):
    """Confirmed pairs of images, P of them."""

    first: NDArray[np.int64]  # (P,) int64 index of one image
    second: NDArray[np.int64]  # (P,) int64 index of the other
    correlation: NDArray[np.float64]  # (P,) float64 in [-1, 1]
    mirrored: NDArray[np.bool_]  # (P,) bool, True where one matches the other's mirror image

    def at_least(self, threshold: float) -> Pairs:
        """Return the pairs whose correlation reaches a threshold."""
        return self.take(self.correlation >= threshold)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """Return the pairs that a mask or an index selects."""
        return Pairs(self.first[which], self.second[which], self.correlation[which], self.mirrored[which])


class Sensitivity(NamedTuple):
    """Number of duplicates at one threshold."""

    threshold: float  # correlation from which two images count as one scan
    groups: int  # number of groups, single images included
    clusters: int  # number of groups of at least two images
    images: int  # number of images in clusters
    largest: int  # number of images in the largest group
    mixed: int  # number of clusters whose images carry different labels


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Which images show the same scan."""

    threshold: float  # the correlation used
    groups: NDArray[np.int64]  # (N,) int64 group of each image, 0..G-1 in order of first appearance
    pairs: Pairs  # the pairs at or above the threshold, first < second, sorted
    measured: Pairs  # the same down to the lowest of `SENSITIVITY_THRESHOLDS`
    # Whether the largest group holds more than 30 % of at least 30 images. Then the images share an outline rather than
    # a scan (or are too few to split), and the groups mean nothing.
    shares_layout: bool

    @property
    def clusters(self) -> list[NDArray[np.int64]]:
        """Indices of the images of every group of at least two, largest group first."""
        order = np.argsort(self.groups, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(self.groups))[:-1])
        return sorted((part for part in parts if len(part) > 1), key=lambda part: (-len(part), part[0]))


def find_duplicates(thumbnails: Thumbnails, hashes: Sequence[str] = (), threshold: float = THRESHOLD) -> Duplicates:
    """Group the images of one set by the scan that they show.

    About 4 s for 780 images on one core; time grows with the square of N, memory is 0.5 GB at 20 000.

    Args:
        thumbnails: (N, 64, 64) uint8 grey.
        hashes: Content hash of each image; equal hashes are one group even where there is no detail to
            correlate (blank images).  Empty: appearance alone.
        threshold: Correlation from which two images count as one scan, in (0, 1].
    """
    detail = fine_detail(thumbnails)
    count = len(detail)
    lowest = min(threshold, *SENSITIVITY_THRESHOLDS)
    measured = _strongest([*_matches(detail, lowest), _equal_hashes(hashes)])
    pairs = measured.at_least(threshold)
    groups = join_groups(count, pairs.first, pairs.second)
    return Duplicates(
        threshold=threshold,
        groups=groups,
        pairs=pairs,
        measured=measured,
        shares_layout=count >= 30 and int(np.bincount(groups).max()) > 0.3 * count,
    )


def threshold_sensitivity(duplicates: Duplicates, labels: NDArray[np.int64]) -> list[Sensitivity]:
    """Count the duplicates at each of `SENSITIVITY_THRESHOLDS`; ``labels`` (N,) are class indices."""
    rows = []
    for threshold in SENSITIVITY_THRESHOLDS:
        pairs = duplicates.measured.at_least(threshold)
        groups = join_groups(len(labels), pairs.first, pairs.second)
        sizes = np.bincount(groups)
        several = sizes[sizes > 1]
        with_label = np.unique(np.stack((groups, labels)), axis=1)[0]
        mixed = int((np.bincount(with_label) > 1).sum())
        rows.append(Sensitivity(threshold, len(sizes), len(several), int(several.sum()), int(sizes.max()), mixed))
    return rows


def join_groups(count: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join 0..count-1 by the given pairs (union-find); groups are numbered by first appearance, (count,) int64."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    roots = [root(index) for index in range(count)]
    number = {found: position for position, found in enumerate(dict.fromkeys(roots))}
    return np.array([number[found] for found in roots], dtype=np.int64)


def join_scans(found: Duplicates, given: Sequence[str | None], contents: Sequence[str]) -> NDArray[np.int64]:
    """Join near-duplicates, given groups (or None) and equal contents: (N,) int64 group of each of N images.

    Where all images share an outline, near-duplicates cannot be found by appearance and are left out.
    """
    first, second = ([], []) if found.shares_layout else ([found.pairs.first], [found.pairs.second])
    for keys in (given, contents):
        seen: dict[str, int] = {}
        links = [(seen.setdefault(key, i), i) for i, key in enumerate(keys) if key is not None]
        pairs = np.array(links, dtype=np.int64).reshape(-1, 2)
        first.append(pairs[:, 0])
        second.append(pairs[:, 1])
    return join_groups(len(given), np.concatenate(first), np.concatenate(second))


def fine_detail(thumbnails: Thumbnails) -> Detail:
    """Remove slow variation and scale to unit energy: (N, 64, 64) float64, all zero for a blank image."""
    if thumbnails.ndim != 3 or thumbnails.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"found thumbnails of shape {thumbnails.shape}, expected (N, {SIDE}, {SIDE})")
    pixels = thumbnails.astype(np.float64)
    detail: Detail = pixels - ndimage.gaussian_filter(pixels, (0, _SMOOTH, _SMOOTH), mode="nearest")
    detail -= detail.mean(axis=(1, 2), keepdims=True)
    spread = detail.std(axis=(1, 2), keepdims=True)
    return np.where(spread > _FLAT, detail / (SIDE * np.maximum(spread, _FLAT)), 0.0)


def _matches(detail: Detail, threshold: float) -> Iterator[Pairs]:
    """Yield the confirmed pairs of the plain and of the mirrored comparison."""
    for mirrored in (False, True):
        target = detail[:, :, ::-1] if mirrored else detail
        a, b = _hash_candidates(detail, target)
        # Either image may be the shifted one; each pair once, none with itself.
        a, b = np.unique(np.sort(np.stack((a, b))[:, a != b], axis=0), axis=1)
        scores = [np.empty(0)]
        for start in range(0, len(a), _BLOCK):
            chunk = slice(start, start + _BLOCK)
            scores.append(_best_correlation(detail[a[chunk]], target[b[chunk]]))
        yield Pairs(a, b, np.concatenate(scores), np.full(len(a), mirrored)).at_least(threshold)


def _hash_candidates(first: Detail, second: Detail) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs whose hashes agree at one of the shifts; blank images have no hash."""
    basis = fft.dct(np.eye(SIDE), axis=0, norm="ortho")[:_HASH_SIDE]
    moved = [basis @ np.eye(SIDE, k=-shift) for shift in _HASH_SHIFTS]  # the transform of the shifted image
    fixed = _signs(first, basis, basis)
    shifted = [_signs(second, rows, columns) for rows in moved for columns in moved]
    bits = fixed.shape[1]
    found_a, found_b = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(first), _BLOCK):
        block = fixed[start : start + _BLOCK]
        best = np.full((len(block), len(second)), -1.0, np.float32)
        for signs in shifted:
            np.maximum(best, block @ signs.T, out=best)
        a, b = np.nonzero(best >= _HASH_AGREEMENT * bits)
        found_a.append(a + start)
        found_b.append(b)
    return np.concatenate(found_a), np.concatenate(found_b)


def _signs(detail: Detail, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float32]:
    coefficients = (rows @ detail @ columns.T).reshape(len(detail), _HASH_SIDE**2)
    return np.sign(coefficients[:, 1:]).astype(np.float32)


def _best_correlation(first: Detail, second: Detail) -> NDArray[np.float64]:
    """(P,) largest normalised cross-correlation over all shifts up to `_LARGEST_SHIFT` of P aligned pairs."""
    shifts = np.arange(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1)
    size = fft.next_fast_len(SIDE + _LARGEST_SHIFT, real=True)
    spectrum = fft.rfft2(first, (size, size)) * fft.rfft2(second, (size, size)).conj()
    # products[p, i, j] = sum over x of first[x + shift] * second[x]
    products = fft.irfft2(spectrum, (size, size))[:, shifts % size][:, :, shifts % size]
    overlap = SIDE - np.abs(shifts)
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
    integral = np.zeros((len(images), SIDE + 1, SIDE + 1))
    integral[:, 1:, 1:] = images.cumsum(axis=1).cumsum(axis=2)
    start, stop = np.maximum(shifts, 0), SIDE + np.minimum(shifts, 0)
    rows = integral[:, stop] - integral[:, start]
    sums: NDArray[np.float64] = rows[:, :, stop] - rows[:, :, start]
    return sums


def _equal_hashes(hashes: Sequence[str]) -> Pairs:
    """Pair each image with the first one of the same content."""
    seen: dict[str, int] = {}
    pairs = [(seen[h], i) for i, h in enumerate(hashes) if seen.setdefault(h, i) != i]
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Pairs(first, second, np.ones(len(pairs)), np.zeros(len(pairs), bool))


def _strongest(found: Sequence[Pairs]) -> Pairs:
    """Join lists of pairs: each pair once, with its largest correlation, sorted by its indices."""
    joined = Pairs(
        np.concatenate([pairs.first for pairs in found]),
        np.concatenate([pairs.second for pairs in found]),
        np.concatenate([pairs.correlation for pairs in found]),
        np.concatenate([pairs.mirrored for pairs in found]),
    )
    ordered = joined.take(np.lexsort((-joined.correlation, joined.second, joined.first)))
    fresh = np.ones(len(ordered.first), bool)
    fresh[1:] = (np.diff(ordered.first) != 0) | (np.diff(ordered.second) != 0)
    return ordered.take(fresh)
