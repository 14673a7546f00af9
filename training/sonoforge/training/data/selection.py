"""Select images: evenly, or a share of each class by whole groups."""

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.seeds import derive_seed


def evenly_spaced(count: int, most: int) -> NDArray[np.int64]:
    """Select at most ``most`` of ``count`` images, spread from first to last because neighbours are often alike."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def draw_share(labels: NDArray[np.int64], groups: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Draw about a share of the images of each class, whole groups only.

    A smaller share is part of every larger one with the same seed: each class's groups are put in one random order, and
    taken from its start until the number of images is closest to the share, with at least one group. A group with
    several classes belongs to the most common one. Labels and groups are (N,); return (M,) indices in ascending order.
    """
    names, inverse = np.unique(groups, return_inverse=True)
    classes = int(labels.max()) + 1
    counts = np.zeros((len(names), classes), np.int64)
    np.add.at(counts, (inverse, labels), 1)
    owner, sizes = counts.argmax(axis=1), counts.sum(axis=1)
    taken = np.zeros(len(names), bool)
    for label in np.unique(owner):
        order = np.random.default_rng(derive_seed(seed, "share of images", int(label))).permutation(
            np.flatnonzero(owner == label)
        )
        images = np.cumsum(sizes[order])
        nearest = int(np.abs(images - share * images[-1]).argmin())
        taken[order[: nearest + 1]] = True
    return np.flatnonzero(taken[inverse])
