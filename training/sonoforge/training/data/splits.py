"""Split images into folds so that nothing in a test fold is in its training part, and prove it before each training."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from sonoforge.runtime.errors import GateError, SonoforgeError, name_some
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.copies.near_duplicates import join_scans
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.data.layouts import TESTED, TRAINED
from sonoforge.training.data.split_plan import UNTESTED, SplitPlan
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, OFFICIAL, ONE_SPLIT, PROTOCOLS, SEALED

log = logging.getLogger(__name__)

FOLDS = 10
"""Default number of folds."""
_FEW = 10  # images of a class too few to learn it from
TEST_SHARE = 0.2
"""Share tested under ``single``: 156 of BUSI's 780 images, as in figure 12c of the MSc thesis (Addala 2023)."""


def make_plan(
    cache: ImageCache, protocol: str, folds: int | None = None, seed: int = 0, together: Sequence[tuple[int, int]] = ()
) -> SplitPlan:
    """Split the images into at least two folds (default 10); under `ONE_SPLIT`, into one tested part and the rest.

    ``sealed``: stratified group k-fold; a group is the union of near-duplicate clusters, equal contents, the groups
    given with the data, and the pairs of images ``together``.  ``thesis``: plain stratified k-fold, which lets repeated
    scans end up on both sides, to reproduce published figures.  ``plain``: the same folds, for generators that read
    only the training images of their fold.  ``single``: one plain stratified split, a fifth of the images tested once.
    ``leave-one-collection-out``: one fold for each collection, tested by models that saw no image of it, and none of a
    group with an image there. ``official``: the published split, see `Item.split`; if it divides a group,
    `check_sealed` refuses.
    """
    if protocol not in PROTOCOLS:
        raise SonoforgeError(f"protocol: {protocol!r} is not {' or '.join(PROTOCOLS)}")
    if protocol == LEAVE_ONE_OUT and not cache.dataset.collections:
        raise SonoforgeError(
            f"{cache.dataset.root}: is one collection, but {protocol} leaves out each of several; give --data for each"
        )
    if folds is None:
        folds = default_folds(protocol) or len(cache.dataset.collections)
    if (folds == 1) != (protocol in ONE_SPLIT) or folds < 1:
        one = " and ".join(ONE_SPLIT)
        raise SonoforgeError(f"folds: {protocol} cannot have {folds}; {one} have 1, all others at least 2")
    labels, groups = cache.dataset.labels, scan_groups(cache, together)
    fold_of = np.full(len(labels), UNTESTED, np.int64)
    if protocol == LEAVE_ONE_OUT:
        names = list(cache.dataset.collections)
        if len(names) != folds:
            raise SonoforgeError(f"folds: {protocol} has one for each of {len(names)} collections, not {folds}")
        fold_of = np.array([names.index(name) for name in cache.dataset.sources])
        _warn_of_lost_classes(cache.dataset, fold_of)
    elif protocol == OFFICIAL:
        _check_published(cache.dataset)
        fold_of = np.array([0 if item.split == TESTED else UNTESTED for item in cache.dataset.items])
    else:
        units = groups if protocol == "sealed" else None
        _check_enough(cache.dataset, np.arange(len(labels)) if units is None else units, max(2, folds))
        for fold, test in enumerate(_test_parts(labels, units, folds, seed)):
            fold_of[test] = fold
    return SplitPlan(
        protocol=protocol,
        seed=seed,
        folds=int(fold_of.max()) + 1,
        fingerprint=cache.fingerprint,
        files=tuple(item.path for item in cache.dataset.items),
        hashes=cache.hashes,
        labels=tuple(cache.dataset.labels.tolist()),
        groups=tuple(groups.tolist()),
        fold_of=tuple(fold_of.tolist()),
    )


def default_folds(protocol: str, other: int = FOLDS) -> int | None:
    """Return a protocol's own number of folds, or ``other``; None means one per collection."""
    return {**dict.fromkeys(ONE_SPLIT, 1), LEAVE_ONE_OUT: None}.get(protocol, other)


def _test_parts(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None, folds: int, seed: int
) -> list[NDArray[np.int64]]:
    """Deal the images, or whole groups, by class; return the indices that each fold tests."""
    state, rows = derive_seed(seed, "folds", bits=32), np.arange(len(labels))
    if folds == 1:
        return [train_test_split(rows, test_size=TEST_SHARE, random_state=state, stratify=labels)[1]]
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    return [test for _, test in splitter(folds, shuffle=True, random_state=state).split(rows, labels, groups)]


def scan_groups(cache: ImageCache, together: Sequence[tuple[int, int]] = ()) -> NDArray[np.int64]:
    """Return the (N,) group of each image, see `near_duplicates.join_scans`, also joining the pairs ``together``."""
    return join_scans(cache.near_duplicates, [item.group for item in cache.dataset.items], cache.hashes, together)


def has_published_split(dataset: Dataset) -> bool:
    """Whether every image is in the training or test part of a published split, and neither is empty."""
    return {item.split for item in dataset.items} == {TRAINED, TESTED}


def _check_published(dataset: Dataset) -> None:
    if not has_published_split(dataset):
        found = ", ".join(sorted({item.split or "nothing" for item in dataset.items}))
        raise SonoforgeError(
            f"{dataset.root}: the column split of groups.csv or metadata.csv has {found}, not just {TRAINED} and "
            f"{TESTED}; use --protocol sealed"
        )
    for label, name in enumerate(dataset.classes):
        parts = {item.split for item in dataset.items if item.label == label}
        if parts != {TRAINED, TESTED}:
            raise SonoforgeError(
                f"{dataset.root}: class {name}: all images are in the published split's {parts.pop()} part; use "
                "--protocol sealed"
            )


def _warn_of_lost_classes(dataset: Dataset, fold_of: NDArray[np.int64]) -> None:
    """Warn about classes that a model can hardly learn because their images are in the collection left out."""
    for fold, name in enumerate(dataset.collections):
        for label, class_name in enumerate(dataset.classes):
            own = dataset.labels == label
            tested, left = int((own & (fold_of == fold)).sum()), int((own & (fold_of != fold)).sum())
            if tested and left < _FEW:
                log.warning("without %s, %d images of class %s are left to learn from", name, left, class_name)


def _check_enough(dataset: Dataset, units: NDArray[np.int64], folds: int) -> None:
    labels = dataset.labels
    for label, name in enumerate(dataset.classes):
        images, count = int((labels == label).sum()), len(np.unique(units[labels == label]))
        if count < folds:
            found = str(images) if count == images else f"{images} in {count} groups"
            fewer = f"use {count} folds or fewer (train: --set train.holdout={1 / max(count, 1):.2g})"
            remedy = fewer if count >= 2 else "add images of other groups"
            raise SonoforgeError(
                f"{dataset.root}: class {name} has too few images ({found}) for {folds} folds, which need a group "
                f"each; {remedy}"
            )


# ---- the leakage guard


def check_sealed(
    plan: SplitPlan, fold: int, stage: str, indices: Sequence[int] | NDArray[np.int64], cache: ImageCache
) -> None:
    """Refuse a training stage that would read a test image of its fold, or a repeat of one.

    Images that the plan leaves out (`split_plan.LEFT_OUT`) count as test images.  Contents and appearance are compared
    in the pixels of ``cache``, which exposes a plan with wrong groups. Protocols that are not `SEALED` pass.

    Raises:
        GateError: An image to read is, equals, looks like or is grouped with a test image; the message gives both.
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
            f"{name_some(matches, '; ')}; give these images one group in groups.csv, or remove them, and start a new "
            "run"
        )


def _leaks(
    plan: SplitPlan, test: NDArray[np.int64], read: NDArray[np.int64], cache: ImageCache
) -> dict[tuple[int, int], str]:
    """Return the simplest reason for each pair of an image read and the test image that it repeats."""
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
    """Return the test images of a fold that have a duplicate or near-duplicate in its training part."""
    pairs = cache.near_duplicates.pairs
    read, tested = plan.train(fold), plan.test(fold)
    sides = (pairs.first, pairs.second), (pairs.second, pairs.first)
    return np.unique(np.concatenate([one[np.isin(one, tested) & np.isin(other, read)] for one, other in sides]))
