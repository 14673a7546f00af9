"""Pairs of an image and its label map, real or generated."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sonoforge.runtime.images.synthetic import cut_structures
from sonoforge.training.data.pixels import Pixels

SMALLEST_PIECE = 0.1  # of the largest piece of its structure; smaller ones of a generated map are cleaned away


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images with their label maps."""

    images: Pixels  # (N, S, S, C) uint8, C = 1 or 3
    maps: NDArray[np.uint8]  # (N, S, S) uint8: 0 is the background, k the k-th structure

    def __len__(self) -> int:
        """Return the number N of pairs."""
        return len(self.images)


def join(first: Pairs, second: Pairs) -> Pairs:
    """Return all pairs of both."""
    return Pairs(np.concatenate([first.images, second.images]), np.concatenate([first.maps, second.maps]))


def to_label_maps(levels: Pixels) -> NDArray[np.uint8]:
    """Turn the levels (N, S, S, K) of K structures, 0 to 255, into label maps (N, S, S); see `cut_structures`."""
    inside = cut_structures(levels) > 0
    return np.where(inside.any(-1), inside.argmax(-1) + 1, 0).astype(np.uint8)


def to_levels(maps: NDArray[np.uint8], structures: int) -> Pixels:
    """Turn label maps (N, S, S) into levels (N, S, S, K) of 0 and 255."""
    return np.where(maps[..., None] == np.arange(1, structures + 1), 255, 0).astype(np.uint8)


def clean_maps(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Clear small pieces of generated label maps (N, S, S): those under a tenth of their structure's largest piece.

    Pieces hang together by their edges.  A structure is neither filled nor smoothed: that would make up anatomy.
    """
    cleaned = maps.copy()
    for own in cleaned:
        for label in np.unique(own[own > 0]):
            pieces, count = ndimage.label(own == label)
            sizes = np.bincount(pieces.ravel())[1:]
            small = 1 + np.flatnonzero(sizes < SMALLEST_PIECE * sizes.max())
            if count > 1 and len(small):
                own[np.isin(pieces, small)] = 0
    return cleaned
