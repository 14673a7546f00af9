"""A data set with masks, opened for segmentation: label maps, and which slices form a case."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.data.datasets import read_facts
from sonoforge.training.data.labelled_images import check_disjoint, read_structures
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.data.splits import has_published_split, make_plan
from sonoforge.training.segmentation.pairs import to_label_maps
from sonoforge.training.statistics.results import OFFICIAL

VOLUME, SPACING = "volume", ("mm_y", "mm_x")
"""Columns of ``groups.csv`` or ``metadata.csv``, see `collections.volumes.COLUMNS`."""


class Case(NamedTuple):
    """The unit of scoring: the slices of a volume, or an image."""

    name: str
    images: NDArray[np.int64]  # (D,) indices of its slices, in order
    spacing: tuple[float, float]  # distance of two pixels of the label maps, down and across
    unit: str  # of that distance: `mm`, or `pixels` of the label maps where millimetres are unknown


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images of one side with their label maps."""

    name: str
    cache: ImageCache
    maps: NDArray[np.uint8]  # (N, S, S) uint8: 0 is the background, k the k-th structure
    structures: tuple[str, ...]  # names of the K structures
    cases: tuple[Case, ...]


@functools.lru_cache(maxsize=4)
def open_labelled_set(source: ImageSource) -> LabelledSet:
    """Open a data set with masks, once per process.

    Raises:
        SonoforgeError: No data set, no masks, overlapping masks, or an image without a mask that others of its class
            have.
    """
    cache = load_images(source._replace(fewest_classes=1))  # classes do not matter
    everything = np.arange(len(cache.hashes))
    levels = read_structures(cache, everything, source.cache)
    check_disjoint(cache.dataset, everything, levels)
    facts = _read_facts(cache)
    maps = to_label_maps(levels.transpose(0, 2, 3, 1))
    return LabelledSet(
        "phantom" if source.data == PHANTOM else cache.dataset.name,
        cache,
        maps,
        cache.dataset.structures,
        tuple(_list_cases(cache, facts)),
    )


def _read_facts(cache: ImageCache) -> list[dict[str, str]]:
    """Read what the tables of the set say about each image, such as volume and spacing."""
    dataset = cache.dataset
    known = {
        f"{name}/{path}" if name else path: facts
        for name, root in (dataset.collections or {"": dataset.root}).items()
        for path, facts in read_facts(
            root, {item.path.removeprefix(f"{name}/" * bool(name)) for item in dataset.items}
        ).items()
    }
    return [known.get(item.path, {}) for item in dataset.items]


def _list_cases(cache: ImageCache, facts: list[dict[str, str]]) -> list[Case]:
    members: dict[str, list[int]] = {}
    for index, (item, row) in enumerate(zip(cache.dataset.items, facts, strict=True)):
        members.setdefault(row.get(VOLUME) or item.path, []).append(index)
    cases = []
    for name, own in members.items():
        first = own[0]
        width, height = cache.sizes[first].tolist()
        steps = [facts[first].get(column, "") for column in SPACING]
        if all(steps):
            try:
                down, across = map(float, steps)
            except ValueError:
                down = across = 0.0
            if not (0 < down < np.inf and 0 < across < np.inf):
                raise SonoforgeError(
                    f"{cache.dataset.root}: {', '.join(SPACING)} {', '.join(steps)} of "
                    f"{cache.dataset.items[first].path} in groups.csv or metadata.csv are not millimetres; correct "
                    "them, or leave them empty"
                )
            cases.append(Case(name, np.array(own), (down * height / cache.size, across * width / cache.size), "mm"))
        else:
            cases.append(Case(name, np.array(own), (1.0, 1.0), "pixels"))
    return cases


def plan_folds(images: LabelledSet, protocol: str, folds: int, seed: int) -> SplitPlan:
    """Split by patients, or as the set's authors did.

    Args:
        images: The set.
        protocol: ``sealed``: folds of whole patients; near-duplicates count as one patient.  ``official``: one fold,
            the published split's test images.  ``auto``: official where there is such a split, else sealed.
        folds: Number of folds of ``sealed``.
        seed: Of the folds.

    Raises:
        SonoforgeError: Too few patients for the folds, or no published split.
    """
    if protocol == "auto":
        protocol = OFFICIAL if has_published_split(images.cache.dataset) else "sealed"
    return make_plan(images.cache, protocol, None if protocol == OFFICIAL else folds, seed)
