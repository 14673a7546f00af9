"""How far real images are from real images: the floor under every distance, and its uncertainty.

Real images are split at random into halves A and B of n images, repeatedly, each time with a draw of n generated images
F: d(F, A) is the *matched* value and d(B, A) its *floor*.  Half of the images without replacement is the delete-half
jackknife (Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", 1982, chapter 8; Shao, Wu, Ann. Statist.
17, 1989); drawing with replacement would put an image into a set twice, which biases FID and KID upwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance
from sonoforge.runtime.distances.neighbours import precision_recall
from sonoforge.runtime.distances.sliced import sliced_wasserstein
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed

Indices = NDArray[np.intp]

# Of ``sonoforge quality --against``.
SEED = 0
REPEATS = 100  # a percentile of 2.5 % needs some draws beyond it
PROJECTIONS = 512
NEIGHBOURS = 3  # Kynkaanniemi 2019

# Each distance's name in the table, the number of images that it needs in each set, and whether more is better.
DISTANCES: dict[str, tuple[str, int, bool]] = {
    "frechet": ("Frechet distance", 2, False),
    "kid": ("KID", 3, False),
    "sliced_wasserstein": ("sliced Wasserstein", 2, False),
    "precision": ("precision", NEIGHBOURS + 1, True),
    "recall": ("recall", NEIGHBOURS + 1, True),
}
DEFINITIONS = {
    "frechet": "squared Frechet distance of two Gaussians (Heusel 2017), biased upwards for few images",
    "kid": "unbiased squared MMD, kernel (x.y / D + 1)^3 (Binkowski 2018), whole sets, jackknife standard error",
    "sliced_wasserstein": f"mean Wasserstein-1 distance along {PROJECTIONS} random unit directions (Rabin 2011)",
    "precision": f"share of the given images in the ball of a reference image, k = {NEIGHBOURS} (Kynkaanniemi 2019)",
    "recall": f"share of the reference images in the ball of a given image, k = {NEIGHBOURS} (Kynkaanniemi 2019)",
}

Distances = dict[str, dict[str, float | None] | None]
"""Figures by distance and name."""


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
        groups: (M,) group of each real image (near-duplicates, one patient), whole numbers.
        fakes: Number N of generated images.
        repeats: Number of draws.
        seed: Of the draws.

    Yields:
        (n,) indices of the first half, of the second and of generated images; n may differ between draws.

    Raises:
        SonoforgeError: A half would have fewer than two images.
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

    ``full`` is its value on the full sets; ``more_is_better`` means that it falls as the sets move apart, as precision
    and coverage do.
    """
    if not matched or len(matched) != len(floor):
        raise ValueError(f"{len(matched)} matched values for {len(floor)} floors; both need the same number, above 0")
    low, high = np.percentile(matched, (2.5, 97.5))
    floor_low, floor_high = np.percentile(floor, (2.5, 97.5))
    mean = float(np.mean(matched))
    above, below = (float(floor_low), mean) if more_is_better else (mean, float(floor_high))
    ratio = above / below if below > 0 else None
    return Measured(
        float(full), mean, float(low), float(high), float(np.mean(floor)), float(floor_low), float(floor_high), ratio
    )


def measure_distances(given: NDArray[Any], reference: NDArray[Any]) -> tuple[Distances, int]:
    """Measure how far embeddings (N, D) are from a reference set (M, D), with the floor; N and M are at least 2.

    Returns:
        For each of `DISTANCES` the fields of `Measured`, for ``kid`` also ``standard_error``: None where the sets are
        too small, and all but ``value`` None where the halves are.  And the number n of images of a half.
    """
    full, standard_error = _figures(given, reference)
    matched: dict[str, list[float]] = defaultdict(list)
    floor: dict[str, list[float]] = defaultdict(list)
    size = min(len(given), len(reference)) // 2
    draws = draw_halves(np.arange(len(reference)), len(given), REPEATS, SEED) if size >= 2 else ()
    for first, second, made in draws:
        for (figures, _), store in ((_figures(given[made], reference[first]), matched),
                                    (_figures(reference[second], reference[first]), floor)):  # fmt: skip
            for name, value in figures.items():
                store[name].append(value)
    found: Distances = {}
    for name, (_, _, more_is_better) in DISTANCES.items():
        if name not in full:
            found[name] = None
        elif not matched[name]:
            found[name] = {**dict.fromkeys(Measured._fields), "value": full[name]}
        else:
            found[name] = summarise(full[name], matched[name], floor[name], more_is_better)._asdict()
    if found["kid"] is not None:
        found["kid"]["standard_error"] = standard_error
    return found, size


def _figures(given: NDArray[Any], reference: NDArray[Any]) -> tuple[dict[str, float], float | None]:
    """Return each distance between (N, D) and (M, D) for which there are enough images, and KID's standard error."""
    standard_error = None
    figures = {
        "frechet": frechet_distance(given, reference),
        "sliced_wasserstein": sliced_wasserstein(given, reference, PROJECTIONS, SEED),
    }
    fewest = min(len(given), len(reference))
    if fewest >= DISTANCES["kid"][1]:
        figures["kid"], standard_error = kernel_distance(given, reference)
    if fewest >= DISTANCES["precision"][1]:
        figures |= precision_recall(given, reference, NEIGHBOURS)._asdict()
    return figures, standard_error
