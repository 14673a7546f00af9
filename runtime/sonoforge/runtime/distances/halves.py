"""Measure how far real images are from real images: the floor under every distance, and its uncertainty.

Real images are split at random into halves A and B of n images, repeatedly, each time with a draw of n generated images
F: d(F, A) is the *matched* value and d(B, A) its *floor*.  Drawing half of the images without replacement is the
delete-half jackknife (Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", 1982, chapter 8; Shao, Wu, Ann.
Statist. 17, 1989); drawing with replacement would put an image into a set twice, which biases FID and KID upwards.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed

Indices = NDArray[np.intp]


class Measured(NamedTuple):
    """A figure with its uncertainty and its floor."""

    value: float  # on the full sets
    matched: float  # mean over the repeats of generated against real, n images each
    matched_low: float  # 2.5th percentile of the same
    matched_high: float  # 97.5th percentile
    floor: float  # mean over the repeats of real against real, n images each
    floor_low: float  # 2.5th percentile of the same
    floor_high: float  # 97.5th percentile
    # How far beyond the floor: ``matched / floor_high``, or ``floor_low / matched`` where more is better.  Up to 1, so
    # many generated images cannot be told from real ones.  None where the divisor is not above 0.
    ratio: float | None


def draw_halves(
    groups: NDArray[Any], fakes: int, repeats: int, seed: int = 0
) -> Iterator[tuple[Indices, Indices, Indices]]:
    """Draw two disjoint halves of the real images with no group in both, and as many generated images, repeatedly.

    Groups are dealt out from the largest to the smallest, equal ones in random order, each to the side with fewer
    images so far; a coin decides ties.  Both sides are then cut at random to n = min(M, fakes) // 2, or to the smaller.

    Args:
        groups: (M,) whole numbers: each real image's group (near-duplicates, one patient).
        fakes: Number N of generated images.
        repeats: Number of draws.
        seed: Seed for the draws.

    Yields:
        (n,) indices of the first half, of the second and of generated images; n may differ between draws.
    """
    sides = np.unique(groups, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(sides)
    size = min(len(sides), fakes) // 2
    for repeat in range(repeats):
        rng = np.random.default_rng(derive_seed(seed, "halves", repeat))
        # A stable sort after a shuffle: by size, equal ones in random order.
        order = rng.permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]
        in_second = np.zeros(len(sizes), bool)
        counts = [0, 0]
        for group, coin in zip(order, rng.integers(0, 2, len(sizes)), strict=True):
            side = int(coin) if counts[0] == counts[1] else int(counts[1] < counts[0])
            counts[side] += int(sizes[group])
            in_second[group] = side
        size = min(size, *counts)
        if size < 2:
            raise SonoforgeError(
                f"real-against-real floor: {len(sides)} real images in {len(sizes)} groups and {fakes} generated ones "
                "do not make two halves of at least 2 with no group in both; give more images"
            )
        second = in_second[sides]
        yield (
            rng.permutation(np.flatnonzero(~second))[:size],
            rng.permutation(np.flatnonzero(second))[:size],
            rng.choice(fakes, size, replace=False),
        )


def summarise(full: float, matched: Sequence[float], floor: Sequence[float], more_is_better: bool = False) -> Measured:
    """Summarise one figure over the repeats of `draw_halves`: d(F, A), and its floor d(B, A).

    ``full`` is its value on the full sets; ``more_is_better`` means that it falls as the sets move apart, like
    precision and coverage.
    """
    if not matched or len(matched) != len(floor):
        raise ValueError(f"{len(matched)} matched values for {len(floor)} floors; both need the same number, above 0")
    low, high = np.percentile(matched, (2.5, 97.5)).tolist()
    floor_low, floor_high = np.percentile(floor, (2.5, 97.5)).tolist()
    mean = float(np.mean(matched))
    above, below = (floor_low, mean) if more_is_better else (mean, floor_high)
    ratio = above / below if below > 0 else None
    return Measured(float(full), mean, low, high, float(np.mean(floor)), floor_low, floor_high, ratio)
