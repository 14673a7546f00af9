"""The leakage guard: prove that no training stage has seen a test image.

Every stage that trains, a generator's included, passes `check_sealed` the images that it is about to read.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.changed_images import name_some
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.statistics.results import SEALED


def check_sealed(
    plan: SplitPlan, fold: int, stage: str, indices: Sequence[int] | NDArray[np.int64], cache: ImageCache
) -> None:
    """Refuse a training stage that would read a test image of its fold, or one that repeats a test image.

    Images that the plan leaves out (`split_plan.LEFT_OUT`) count as test images.
    Contents and appearance are compared in the pixels of ``cache``, so that a plan with wrong groups is detected.  Does
    nothing under a protocol that is not sealed (`split_plan.SEALED`).

    Raises:
        GateError: An image read is, equals, looks like or is grouped with a test image; names both.
        SonoforgeError: The plan was made for other images.
    """
    if plan.files != tuple(item.path for item in cache.dataset.items) or plan.hashes != cache.hashes:
        raise SonoforgeError(f"{cache.dataset.root}: the split plan was made for other images; make a new one")
    if plan.protocol not in SEALED:
        return
    test = np.union1d(plan.test(fold), plan.left_out)
    leaks = _leaks(plan, test, np.unique(np.asarray(indices, dtype=np.int64)), cache)
    if leaks:
        matches = (
            f"{plan.files[read]} matches test image {plan.files[tested]} ({reason})"
            for (read, tested), reason in leaks.items()
        )
        raise GateError(
            f"{plan.protocol}: fold {fold}, stage {stage} would train on its test fold: "
            f"{name_some(matches, '; ')}; give such images one group in groups.csv, or remove them, and begin a new run"
        )


def _leaks(
    plan: SplitPlan, test: NDArray[np.int64], read: NDArray[np.int64], cache: ImageCache
) -> dict[tuple[int, int], str]:
    """Return the reason for each pair of an image read and a test image that it repeats, the plainest reason first."""
    leaks = {(i, i): "the same file" for i in np.intersect1d(read, test).tolist()}
    groups, given = np.array(plan.groups).tolist(), [item.group for item in cache.dataset.items]
    for reason, keys in (("same pixels", cache.hashes), ("same given group", given), ("same group", groups)):
        tested = {keys[i]: i for i in test.tolist() if keys[i] is not None}
        for i in read.tolist():
            if keys[i] in tested:
                leaks.setdefault((i, tested[keys[i]]), reason)
    pairs = cache.near_duplicates.pairs
    for a, b in ((pairs.first, pairs.second), (pairs.second, pairs.first)):
        for k in np.flatnonzero(np.isin(a, read) & np.isin(b, test)).tolist():
            how = ", mirrored" * bool(pairs.mirrored[k]) + ", inverted" * bool(pairs.inverted[k])
            reason = f"near-duplicate, r={pairs.correlation[k]:.2f}{how}"
            leaks.setdefault((int(a[k]), int(b[k])), reason)
    return leaks


def leaked_images(plan: SplitPlan, fold: int, cache: ImageCache) -> NDArray[np.int64]:
    """Return the test images of a fold that have a duplicate or near-duplicate in its training part.

    It measures what ``thesis`` and ``single`` let through; that it is empty proves ``sealed``.
    """
    pairs = cache.near_duplicates.pairs
    read, tested = plan.train(fold), plan.test(fold)
    sides = (pairs.first, pairs.second), (pairs.second, pairs.first)
    return np.unique(np.concatenate([one[np.isin(one, tested) & np.isin(other, read)] for one, other in sides]))
