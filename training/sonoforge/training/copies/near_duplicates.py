"""Group the images of a data set by the scan that they show, as `search` finds."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.alignment import MOST_MATCHES, Alignment
from sonoforge.training.copies.confirmation import Comparison
from sonoforge.training.copies.matches import Found, Match, Matches, find_once, join_groups
from sonoforge.training.copies.pictures import Look, Picture
from sonoforge.training.copies.search import HIGHEST_LIMIT, LOWEST_LIMIT, match_pictures, null_limit, prepare

log = logging.getLogger(__name__)

SENSITIVITY = (0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Multiples of the limit at which an audit counts again."""

_SEARCH = "near-duplicates4"  # another number, and no earlier answer is read


class RepeatedScans(TypedDict):
    """Number of near-duplicates at one limit; a cluster is a group of at least two images."""

    threshold: float  # score from which two images count as one scan
    groups: int  # single images included
    clusters: int
    images_in_clusters: int
    largest_cluster: int
    mixed_label_clusters: int  # whose images carry different labels


@dataclass(frozen=True, eq=False)
class NearDuplicates:
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


def find_near_duplicates(
    pictures: Sequence[Picture], hashes: Sequence[str] = (), store: Path | None = None
) -> NearDuplicates:
    """Group the images of one set by the scan that they show.

    About 30 core-seconds for 780 images and 155 for 2900, the first time; on disk, meanwhile, 0.2 MB an image.

    Args:
        pictures: N grey (H, W) uint8 pictures.
        hashes: Content hash of each image; equal hashes are one group even where there is no detail to
            compare (blank images).  Empty: appearance alone.
        store: Folder that keeps what was found, by the content hashes; None: found anew.
    """

    def search() -> Found:
        features, pairs = ("reading features", "comparing look-alikes") if len(pictures) > 100 else ("", "")
        return Found(match_pictures(prepare(pictures, features), title=pairs))

    found = find_once(store, _SEARCH, hashes, search).matches
    measured = _joined(found, _equal_contents(hashes))
    threshold = null_limit(measured, len(pictures))
    if threshold > 2 * LOWEST_LIMIT:
        log.warning(
            "near-duplicates: different pictures of this set are so alike that only a score of %.1f or more counts as "
            "one scan, and %g does elsewhere: copies that were changed much are not found; see sonoforge data audit",
            threshold,
            LOWEST_LIMIT,
        )
    pairs = measured.confirmed(threshold)
    return NearDuplicates(threshold, join_groups(len(pictures), pairs.first, pairs.second), pairs, measured)


def threshold_sensitivity(found: NearDuplicates, labels: NDArray[np.int64]) -> list[RepeatedScans]:
    """Count the near-duplicates at each multiple of `SENSITIVITY`; ``labels`` (N,) are class indices."""
    return [count_repeated(found, labels, factor) for factor in SENSITIVITY]


def count_repeated(found: NearDuplicates, labels: NDArray[np.int64], factor: float = 1.0) -> RepeatedScans:
    """Count the near-duplicates at a multiple of the limit; ``labels`` (N,) are class indices."""
    threshold = factor * found.threshold
    pairs = found.measured.confirmed(threshold)
    groups = join_groups(len(labels), pairs.first, pairs.second)
    sizes = np.bincount(groups)
    with_label = np.unique(np.stack((groups, labels)), axis=1)[0]
    return RepeatedScans(
        threshold=round(threshold, 1),
        groups=len(sizes),
        clusters=int((sizes > 1).sum()),
        images_in_clusters=int(sizes[sizes > 1].sum()),
        largest_cluster=int(sizes.max()),
        mixed_label_clusters=int((np.bincount(with_label) > 1).sum()),
    )


def join_scans(found: NearDuplicates, given: Sequence[str | None], contents: Sequence[str]) -> NDArray[np.int64]:
    """Join near-duplicates, given groups (or None) and equal contents: (N,) int64 group of each of N images."""
    first, second = [found.pairs.first], [found.pairs.second]
    for keys in (given, contents):
        seen: dict[str, int] = {}
        links = [(seen.setdefault(key, i), i) for i, key in enumerate(keys) if key is not None]
        pairs = np.array(links, dtype=np.int64).reshape(-1, 2)
        first.append(pairs[:, 0])
        second.append(pairs[:, 1])
    return join_groups(len(given), np.concatenate(first), np.concatenate(second))


def _equal_contents(hashes: Sequence[str]) -> Matches:
    """Pair each image with the first one of the same content, at the highest limit."""
    seen: dict[str, int] = {}
    pairs = [(seen[h], i) for i, h in enumerate(hashes) if seen.setdefault(h, i) != i]
    look, alignment = Look(mirrored=False, inverted=False), Alignment(np.eye(2, 3), MOST_MATCHES)
    alike = Comparison(correlation=1.0, score=HIGHEST_LIMIT, overlap=1.0)
    return Matches.of([Match.of(first, second, look, alignment, alike) for first, second in pairs])


def _joined(one: Matches, other: Matches) -> Matches:
    """Join two lists of pairs: each pair once, with the higher correlation, sorted by its indices."""
    both = Matches._make(np.concatenate(fields) for fields in zip(one, other, strict=True))
    ordered = both.take(np.lexsort((-both.correlation, both.second, both.first)))
    fresh = np.ones(len(ordered.first), bool)
    fresh[1:] = (np.diff(ordered.first) != 0) | (np.diff(ordered.second) != 0)
    return ordered.take(fresh)
