"""The training image that each image matches best, be it equal, shifted, turned, zoomed, cropped, mirrored or a part.

The search is that of `sonoforge.training.copies`.  Small images suffice for it: they are enlarged to 256
pixels.  Images are stretched to a square for training, so a copied part may be stretched against its original by up to
two; each training image is therefore searched for in three shapes (`SHAPES`), and local features bridge the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.training.copies.matches import Prepared, match_pictures, prepare
from sonoforge.training.copies.pictures import SIDE, Picture

# Width and height.  With 64-pixel BUSI and one shape, 0.6 of letterboxed and none of stretched halves were found.
SHAPES = ((SIDE, SIDE), (SIDE, round(SIDE / 1.6)), (round(SIDE / 1.6), SIDE))
NOTHING = -1


class Best(NamedTuple):
    """The best match of each of N images."""

    score: NDArray[np.float64]  # (N,) standard errors above unrelated pictures; 0 where nothing matches
    training_index: NDArray[np.int64]  # (N,) its place among the training images; `NOTHING` where nothing matches
    mirrored: NDArray[np.bool_]  # (N,) whether the training image's mirror image is meant


class Wanted(NamedTuple):
    """Training images, prepared to be found: M times the `SHAPES`."""

    shaped: Prepared  # place s M + i is image i in shape s
    number: int  # M of training images

    @property
    def square(self) -> Prepared:
        """The images as they are, to be looked for themselves."""
        return Prepared(self.shaped.pictures[: self.number], self.shaped.features[: self.number])


def grey_pictures(images: NDArray[np.uint8]) -> list[Picture]:
    """Return images (N, S, S, C) uint8, C = 1 or 3, as N grey ones (S, S)."""
    return list(np.round(images.mean(axis=3, dtype=np.float32)).astype(np.uint8))


def prepare_training(images: NDArray[np.uint8]) -> Wanted:
    """Prepare training images (M, S, S, C) uint8 for `match_training`; 0.05 core-seconds each."""
    pictures = grey_pictures(images)
    shaped = [
        np.asarray(Image.fromarray(picture).resize(shape, Image.Resampling.BICUBIC))
        for shape in SHAPES
        for picture in pictures
    ]
    return Wanted(prepare(shaped), len(pictures))


def match_training(images: Prepared, wanted: Wanted, groups: NDArray[np.int64] | None = None) -> Best:
    """Find the training image that each of N prepared images matches best; 0.03 core-seconds each.

    Args:
        images: N images.
        wanted: The M training images.
        groups: (M,) near-duplicate groups where the images are ``wanted.square``: those of another group alone count.
    """
    count = len(images.pictures)
    score, place, mirrored = np.zeros(count), np.full(count, NOTHING, np.int64), np.zeros(count, np.bool_)
    found = match_pictures(wanted.shaped, images)
    index = found.first % wanted.number
    counts = found.score > 0
    if groups is not None:
        counts &= groups[index] != groups[found.second]
    order = np.flatnonzero(counts)
    order = order[np.argsort(found.score[order], kind="stable")]  # of several, the last one assigned is the best
    at = found.second[order]
    score[at], place[at], mirrored[at] = found.score[order], index[order], found.mirrored[order]
    return Best(score, place, mirrored)
