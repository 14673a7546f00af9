"""Which kinds of copies are found in a set of pictures: copies are planted in it, and looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.copies.matches import match_pictures, prepare
from sonoforge.training.copies.pictures import Picture
from sonoforge.training.copies.planting import KINDS, TWO_AT_ONCE, plant
from sonoforge.training.statistics.intervals import Interval, wilson_interval

PLANTED_KINDS = (*KINDS, TWO_AT_ONCE)

Plant = Callable[[str, Picture, np.random.Generator], Picture]


class PlantedRow(NamedTuple):
    """Copies of one kind."""

    kind: str
    planted: int
    found: int  # matched with their original at the set's limit
    recall: Interval  # found / planted, with Wilson's 95 % interval


def measure_recall(
    pictures: Sequence[Picture],
    limit: float,
    count: int,
    seed: int = 0,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[PlantedRow]:
    """Plant ``count`` copies of each kind of `KINDS`, and of two kinds of geometry at once, and count those found.

    About 0.1 core-seconds a copy, and 0.02 a picture of the set.

    Args:
        pictures: N grey (H, W) uint8 pictures; the originals are drawn from them.
        limit: Score from which two pictures count as one scan.
        count: Copies of each kind, at least 1.
        seed: Of the choice of originals and places.
        advance: Hears how many candidates of how many are compared.
    """
    originals, copies = plant_copies(pictures, count, seed)
    matches = match_pictures(prepare(pictures), prepare(copies), advance).confirmed(limit)
    hits = np.zeros(len(copies), bool)
    hits[matches.second[originals[matches.second] == matches.first]] = True
    return count_found(hits)


def plant_copies(
    pictures: Sequence[Picture], count: int, seed: int, how: Plant = plant
) -> tuple[NDArray[np.int64], list[Picture]]:
    """Plant ``count`` copies of each of the `PLANTED_KINDS`, one kind after the other.

    Returns:
        The index of each copy's original, (kinds * count,), and the copies.
    """
    rng = np.random.default_rng(derive_seed(seed, "planted copies"))
    originals = rng.integers(0, len(pictures), (len(PLANTED_KINDS), count))
    copies = [
        how(kind, pictures[original], rng)
        for kind, row in zip(PLANTED_KINDS, originals.tolist(), strict=True)
        for original in row
    ]
    return originals.reshape(-1), copies


def count_found(hits: NDArray[np.bool_]) -> list[PlantedRow]:
    """Count by kind which copies of `plant_copies` were found, (kinds * count,)."""
    by_kind = hits.reshape(len(PLANTED_KINDS), -1)
    count = by_kind.shape[1]
    return [
        PlantedRow(kind, count, number, wilson_interval(number, count))
        for kind, number in zip(PLANTED_KINDS, by_kind.sum(axis=1).tolist(), strict=True)
    ]
