"""Split images into folds, so that nothing shown in a test fold is shown in its training part.

The protocols: see `make_plan`.  What was split is checked again in `guard`.
"""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.copies.matches import join_groups
from sonoforge.training.copies.near_duplicates import join_scans
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.data.folder_layout import TESTED, TRAINED
from sonoforge.training.data.split_plan import UNTESTED, SplitPlan
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, OFFICIAL, ONE_SPLIT, PROTOCOLS

log = logging.getLogger(__name__)

FOLDS = 10
"""Where no number is given."""
_FEW = 10  # images of a class, to learn it from
TEST_SHARE = 0.2
"""Of the images under ``single``: 156 of BUSI's 780, as in figure 12c of the MSc thesis (existing app, Addala 2023)."""


def make_plan(
    cache: ImageCache, protocol: str, folds: int | None = None, seed: int = 0, together: Sequence[tuple[int, int]] = ()
) -> SplitPlan:
    """Split the images into folds, at least two (by default 10); under `ONE_SPLIT` into one tested part and the rest.

    ``sealed``: stratified group k-fold; a group is the union of near-duplicate clusters, equal contents, the
    groups given with the data, and the pairs of images ``together``.  ``thesis``: plain stratified k-fold, which
    lets repeated scans end up on both sides; kept to reproduce published figures and to measure the effect.
    ``plain``: the same folds, for generators that read the training images of their fold alone.
    ``single``: one plain stratified split, a fifth of the images tested once and never the others (``folds`` is 1);
    kept, like ``thesis``, for figures that were published so.
    ``leave-one-collection-out``: one fold for each collection, tested by models that saw only the others, and no image
    of a group that has one in the test collection.
    ``official``: the published split, see `Item.split`; what it divides of a group, `guard` refuses.

    Raises:
        SonoforgeError: An unknown protocol, a class with fewer groups (images) than folds, a single collection to
            be left out, or no published split.
    """
    if protocol not in PROTOCOLS:
        raise SonoforgeError(f"protocol: found {protocol!r}, expected {' or '.join(PROTOCOLS)}")
    if protocol == LEAVE_ONE_OUT and not cache.dataset.collections:
        raise SonoforgeError(
            f"{cache.dataset.root}: found one collection, expected several to leave each out in turn; give "
            "--data for each"
        )
    folds = count_folds(cache.dataset, protocol, folds)
    if (folds == 1) != (protocol in ONE_SPLIT) or folds < 1:
        one = " and ".join(ONE_SPLIT)
        raise SonoforgeError(f"folds: found {folds} under {protocol}, expected 1 under {one}, at least 2 otherwise")
    labels = cache.dataset.labels
    groups = scan_groups(cache, together)
    fold_of = np.full(len(labels), UNTESTED, np.int64)
    if protocol == LEAVE_ONE_OUT:
        names = list(cache.dataset.collections)
        if len(names) != folds:
            raise SonoforgeError(f"folds: found {folds} under {protocol}, expected one for each of {len(names)}")
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
    return assigned_plan(cache, protocol, seed, groups, fold_of)


def assigned_plan(
    cache: ImageCache, protocol: str, seed: int, groups: NDArray[np.int64], fold_of: NDArray[np.int64]
) -> SplitPlan:
    """Return the plan in which each of the N images has this group and is tested in this fold, each (N,)."""
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


def default_folds(protocol: str, usual: int = FOLDS) -> int | None:
    """Return the number of folds that a protocol has where none is given; None: one a collection."""
    return {**dict.fromkeys(ONE_SPLIT, 1), LEAVE_ONE_OUT: None}.get(protocol, usual)


def count_folds(dataset: Dataset, protocol: str, folds: int | None) -> int:
    """Return the number of folds, or the one that a protocol has where none is given."""
    return (default_folds(protocol) or len(dataset.collections)) if folds is None else folds


def _test_parts(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None, folds: int, seed: int
) -> list[NDArray[np.int64]]:
    """Deal the images, or whole groups, by class: the indices that each fold tests."""
    state, rows = derive_seed(seed, "folds", bits=32), np.arange(len(labels))
    if folds == 1:
        return [train_test_split(rows, test_size=TEST_SHARE, random_state=state, stratify=labels)[1]]
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    return [test for _, test in splitter(folds, shuffle=True, random_state=state).split(rows, labels, groups)]


def scan_groups(cache: ImageCache, together: Sequence[tuple[int, int]] = ()) -> NDArray[np.int64]:
    """Return the (N,) group of each image, see `near_duplicates.join_scans`; also joined are the pairs ``together``."""
    groups = join_scans(cache.near_duplicates, [item.group for item in cache.dataset.items], cache.hashes)
    if not together:
        return groups
    first = np.unique(groups, return_index=True)[1]  # an image of each group
    links = [*zip(range(len(groups)), first[groups].tolist(), strict=True), *together]
    one, other = np.array(links, dtype=np.int64).T
    return join_groups(len(groups), one, other)


def has_published_split(dataset: Dataset) -> bool:
    """Whether every image is in the training or the test part of a published split, and neither is empty."""
    return {item.split for item in dataset.items} == {TRAINED, TESTED}


def _check_published(dataset: Dataset) -> None:
    if not has_published_split(dataset):
        found = ", ".join(sorted({item.split or "nothing" for item in dataset.items}))
        raise SonoforgeError(
            f"{dataset.root}: found {found} in the column split of groups.csv or metadata.csv, expected {TRAINED} and "
            f"{TESTED} alone; use --protocol sealed"
        )
    for label, name in enumerate(dataset.classes):
        parts = {item.split for item in dataset.items if item.label == label}
        if parts != {TRAINED, TESTED}:
            raise SonoforgeError(
                f"{dataset.root}: class {name}: found images of the published split's {parts.pop()} part alone, "
                "expected some in both; use --protocol sealed"
            )


def _warn_of_lost_classes(dataset: Dataset, fold_of: NDArray[np.int64]) -> None:
    """Say which classes a model will hardly know, as their images are of the collection left out."""
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
            different = "" if count == images else f" in {count} groups"
            remedy = (
                f"use {count} folds or fewer (train: --holdout {1 / count:.2g})"
                if count >= 2
                else "add images that are not of one group"
            )
            raise SonoforgeError(
                f"{dataset.root}: class {name}: found {images} images{different}, expected at least one group for each "
                f"of {folds} folds; {remedy}"
            )
