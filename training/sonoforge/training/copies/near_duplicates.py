"""Group the images of a data set by the scan that they show, see `sonoforge.training.copies`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoforge.training.checked_file import read_checked, write_checked
from sonoforge.training.copies.alignment import MOST_MATCHES
from sonoforge.training.copies.matches import HIGHEST_LIMIT, Matches, match_pictures, null_limit, prepare
from sonoforge.training.copies.pictures import Picture
from sonoforge.training.progress import is_shown, progress_bar

SENSITIVITY = (0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Multiples of the limit at which an audit counts again."""

_VERSION = 2  # of the detector; results stored by another one are not read


class Sensitivity(NamedTuple):
    """Number of duplicates at one limit."""

    threshold: float  # score from which two images count as one scan
    groups: int  # number of groups, single images included
    clusters: int  # number of groups of at least two images
    images: int  # number of images in clusters
    largest: int  # number of images in the largest group
    mixed: int  # number of clusters whose images carry different labels


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Which images show the same scan."""

    threshold: float  # the score used, from the set's own null distribution
    groups: NDArray[np.int64]  # (N,) int64 group of each image, 0..G-1 in order of first appearance
    pairs: Matches  # the pairs at or above the threshold, first < second, sorted
    measured: Matches  # all pairs that were compared

    @property
    def clusters(self) -> list[NDArray[np.int64]]:
        """Indices of the images of every group of at least two, largest group first."""
        order = np.argsort(self.groups, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(self.groups))[:-1])
        return sorted((part for part in parts if len(part) > 1), key=lambda part: (-len(part), part[0]))


def find_duplicates(pictures: Sequence[Picture], hashes: Sequence[str] = (), store: Path | None = None) -> Duplicates:
    """Group the images of one set by the scan that they show.

    About 45 core-seconds for 780 images and 6 core-minutes for 5000, the first time; memory is 0.2 MB an image.

    Args:
        pictures: N grey (H, W) uint8 pictures.
        hashes: Content hash of each image; equal hashes are one group even where there is no detail to
            compare (blank images).  Empty: appearance alone.
        store: Folder that keeps what was found, by the content hashes; None: found anew.
    """
    measured = _joined(_stored_matches(pictures, hashes, store), _equal_contents(hashes))
    threshold = null_limit(measured, len(pictures))
    pairs = measured.confirmed(threshold)
    return Duplicates(threshold, join_groups(len(pictures), pairs.first, pairs.second), pairs, measured)


def threshold_sensitivity(duplicates: Duplicates, labels: NDArray[np.int64]) -> list[Sensitivity]:
    """Count the duplicates at each multiple of `SENSITIVITY`; ``labels`` (N,) are class indices."""
    rows = []
    for factor in SENSITIVITY:
        threshold = factor * duplicates.threshold
        pairs = duplicates.measured.confirmed(threshold)
        groups = join_groups(len(labels), pairs.first, pairs.second)
        sizes = np.bincount(groups)
        several = sizes[sizes > 1]
        with_label = np.unique(np.stack((groups, labels)), axis=1)[0]
        mixed = int((np.bincount(with_label) > 1).sum())
        rows.append(
            Sensitivity(round(threshold, 1), len(sizes), len(several), int(several.sum()), int(sizes.max()), mixed)
        )
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
    """Join near-duplicates, given groups (or None) and equal contents: (N,) int64 group of each of N images."""
    first, second = [found.pairs.first], [found.pairs.second]
    for keys in (given, contents):
        seen: dict[str, int] = {}
        links = [(seen.setdefault(key, i), i) for i, key in enumerate(keys) if key is not None]
        pairs = np.array(links, dtype=np.int64).reshape(-1, 2)
        first.append(pairs[:, 0])
        second.append(pairs[:, 1])
    return join_groups(len(given), np.concatenate(first), np.concatenate(second))


def _stored_matches(pictures: Sequence[Picture], hashes: Sequence[str], store: Path | None) -> Matches:
    if store is None:
        return _measure(pictures)
    contents = hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:32]
    path = store / f"copies{_VERSION}-opencv{cv2.__version__}" / f"{contents}.bin"
    known = read_checked(path)
    if known is not None:
        return _unpack(np.frombuffer(known[1].tobytes(), np.float64))
    measured = _measure(pictures)
    write_checked(path, [_pack(measured)], [])
    return measured


def _measure(pictures: Sequence[Picture]) -> Matches:
    show = len(pictures) > 100 and is_shown()
    with progress_bar("reading features", len(pictures), show=show) as advance:
        prepared = prepare(pictures, lambda done: advance(done, None))
    with progress_bar("comparing look-alikes", 1000, show=show) as advance:
        return match_pictures(prepared, advance=lambda done, total: advance(1000 * done // total, None))


def _pack(matches: Matches) -> NDArray[np.float64]:
    """(P, 14): the columns of the pairs, the matrix last."""
    columns = [field.astype(np.float64) for field in matches[:-1]]
    return np.column_stack([*columns, matches.matrix.reshape(-1, 6)])


def _unpack(values: NDArray[np.float64]) -> Matches:
    rows = values.reshape(-1, 14)
    return Matches(
        first=rows[:, 0].astype(np.int64),
        second=rows[:, 1].astype(np.int64),
        score=rows[:, 2],
        correlation=rows[:, 3],
        overlap=rows[:, 4],
        agreeing=rows[:, 5].astype(np.int64),
        mirrored=rows[:, 6].astype(bool),
        inverted=rows[:, 7].astype(bool),
        matrix=rows[:, 8:].reshape(-1, 2, 3),
    )


def _equal_contents(hashes: Sequence[str]) -> Matches:
    """Pair each image with the first one of the same content, at the highest limit."""
    seen: dict[str, int] = {}
    pairs = [(seen[h], i) for i, h in enumerate(hashes) if seen.setdefault(h, i) != i]
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    ones, nothing = np.ones(len(pairs)), np.zeros(len(pairs), bool)
    same_place = np.tile(np.eye(2, 3), (len(pairs), 1, 1))
    return Matches(
        first=first,
        second=second,
        score=HIGHEST_LIMIT * ones,
        correlation=ones,
        overlap=ones,
        agreeing=np.full(len(pairs), MOST_MATCHES),
        mirrored=nothing,
        inverted=nothing,
        matrix=same_place,
    )


def _joined(one: Matches, other: Matches) -> Matches:
    """Join two lists of pairs: each pair once, with the higher correlation, sorted by its indices."""
    both = Matches._make(np.concatenate(fields) for fields in zip(one, other, strict=True))
    ordered = both.take(np.lexsort((-both.correlation, both.second, both.first)))
    fresh = np.ones(len(ordered.first), bool)
    fresh[1:] = (np.diff(ordered.first) != 0) | (np.diff(ordered.second) != 0)
    return ordered.take(fresh)
