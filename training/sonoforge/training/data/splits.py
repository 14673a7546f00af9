"""Split images into folds, and prove that no training stage has seen a test image.

Two protocols, see `make_plan`.  `check_sealed` is the leakage guard: every stage that trains, a generator's included,
passes it the images that it is about to read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.data.duplicates import join_scans
from sonoforge.training.data.split_plan import PROTOCOLS, SplitPlan

log = logging.getLogger(__name__)


def make_plan(cache: ImageCache, protocol: str, folds: int = 10, seed: int = 0) -> SplitPlan:
    """Split the images into folds, at least two.

    ``sealed``: stratified group k-fold; a group is the union of near-duplicate clusters, equal contents and
    the groups given with the data.  ``thesis``: plain stratified k-fold, which lets repeated scans end up on both
    sides; kept to reproduce published figures and to measure the effect.

    Raises:
        SonoforgeError: An unknown protocol, or a class with fewer groups (images) than folds.
    """
    if protocol not in PROTOCOLS:
        raise SonoforgeError(f"protocol: found {protocol!r}, expected {' or '.join(PROTOCOLS)}")
    if folds < 2:
        raise SonoforgeError(f"folds: found {folds}, expected at least 2")
    labels = cache.dataset.labels
    if protocol == "sealed":
        _check_groups_known(cache)
    groups = scan_groups(cache)
    _check_enough(cache.dataset, groups if protocol == "sealed" else np.arange(len(labels)), folds)
    fold_of = np.empty(len(labels), np.int64)
    splitter = StratifiedGroupKFold if protocol == "sealed" else StratifiedKFold
    parts = splitter(folds, shuffle=True, random_state=derive_seed(seed, "folds", bits=32))
    for fold, (_, test) in enumerate(parts.split(np.zeros(len(labels)), labels, groups)):
        fold_of[test] = fold
    return SplitPlan(
        protocol=protocol,
        seed=seed,
        folds=folds,
        fingerprint=cache.fingerprint,
        files=tuple(item.path for item in cache.dataset.items),
        hashes=cache.hashes,
        labels=tuple(labels.tolist()),
        groups=tuple(groups.tolist()),
        fold_of=tuple(fold_of.tolist()),
        by_appearance=not cache.duplicates.shares_layout,
    )


def scan_groups(cache: ImageCache) -> NDArray[np.int64]:
    """Return the (N,) group of each image, see `duplicates.join_scans`."""
    return join_scans(cache.duplicates, [item.group for item in cache.dataset.items], cache.hashes)


def _check_groups_known(cache: ImageCache) -> None:
    """Refuse to seal a set whose groups neither the images nor groups.csv show."""
    if not cache.duplicates.shares_layout:
        return
    if any(item.group is None for item in cache.dataset.items):
        largest = int(np.bincount(cache.duplicates.groups).max())
        raise SonoforgeError(
            f"{cache.dataset.root}: {largest} of {len(cache.hashes)} images look alike, so groups cannot be told "
            "from the images; give the patient of every image in groups.csv (columns file,group)"
        )
    log.warning("%s: the images share one outline; sealed by groups.csv and equal contents alone", cache.dataset.name)


def _check_enough(dataset: Dataset, units: NDArray[np.int64], folds: int) -> None:
    labels = dataset.labels
    for label, name in enumerate(dataset.classes):
        images, count = int((labels == label).sum()), len(np.unique(units[labels == label]))
        if count < folds:
            different = "" if count == images else f" in {count} groups"
            remedy = f"use {count} folds or fewer" if count >= 2 else "add images that are not of one group"
            raise SonoforgeError(
                f"{dataset.root / name}: found {images} images{different}, expected at least one group for each of "
                f"{folds} folds; {remedy}"
            )


# ---- the guard


def check_sealed(
    plan: SplitPlan, fold: int, stage: str, indices: Sequence[int] | NDArray[np.int64], cache: ImageCache
) -> None:
    """Refuse a training stage that would read a test image of its fold, or one that repeats a test image.

    Contents and appearance are compared in the pixels of ``cache``, so that a plan with wrong groups is detected.  Does
    nothing under ``thesis``.

    Raises:
        GateError: An image read is, equals, looks like or is grouped with a test image; names both.
        SonoforgeError: The plan was made for other images.
    """
    if plan.files != tuple(item.path for item in cache.dataset.items) or plan.hashes != cache.hashes:
        raise SonoforgeError(f"{cache.dataset.root}: the split plan was made for other images; make a new one")
    if plan.protocol != "sealed":
        return
    test = plan.test(fold)
    leaks = _leaks(plan, test, np.unique(np.asarray(indices, dtype=np.int64)), cache)
    if leaks:
        named = "; ".join(
            f"{plan.files[read]} matches test image {plan.files[tested]} ({reason})"
            for (read, tested), reason in list(leaks.items())[:3]
        )
        more = f"; and {len(leaks) - 3} more pairs" if len(leaks) > 3 else ""
        raise GateError(
            f"sealed: fold {fold}, stage {stage} would train on its test fold: {named}{more}; keep such images in "
            "one fold (delete splits.json to have it made again) or remove them"
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
    if plan.by_appearance:
        pairs = cache.duplicates.pairs
        is_read, is_test = np.zeros(len(plan.files), bool), np.zeros(len(plan.files), bool)
        is_read[read], is_test[test] = True, True
        for a, b in ((pairs.first, pairs.second), (pairs.second, pairs.first)):
            for k in np.flatnonzero(is_read[a] & is_test[b]).tolist():
                how = ", mirrored" if pairs.mirrored[k] else ""
                reason = f"near-duplicate, r={pairs.correlation[k]:.2f}{how}"
                leaks.setdefault((int(a[k]), int(b[k])), reason)
    return leaks


def leaked_images(plan: SplitPlan, fold: int, cache: ImageCache) -> NDArray[np.int64]:
    """Return the test images of a fold that have a duplicate or near-duplicate in its training part.

    It measures what ``thesis`` lets through; that it is empty proves ``sealed``.  Where all images share an outline,
    only equal pixels count.
    """
    pairs = cache.duplicates.pairs
    if not plan.by_appearance:
        contents = np.unique(cache.hashes, return_inverse=True)[1]
        pairs = pairs.take(contents[pairs.first] == contents[pairs.second])
    fold_of = np.array(plan.fold_of)
    apart = fold_of[pairs.first] != fold_of[pairs.second]
    either = np.union1d(pairs.first[apart], pairs.second[apart])
    leaked: NDArray[np.int64] = np.intersect1d(either, plan.test(fold))
    return leaked
