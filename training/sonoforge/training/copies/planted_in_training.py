"""Which kinds of copies of these training images the copy test finds at this size: they are planted, and looked for.

Copies are planted in the images as the generator saw them (side, squareness, grey), and brought back to the same
square, so that a crop is enlarged and a half stretched, as an image of another shape is for training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.training.copies.matches import prepare
from sonoforge.training.copies.pictures import Picture
from sonoforge.training.copies.planting import plant
from sonoforge.training.copies.recall import PlantedRow, count_found, plant_copies
from sonoforge.training.copies.training_matches import Wanted, grey_pictures, match_training

PLANTED = 20
"""Copies of each kind: one missed leaves the kind standing, two do not; of all kinds, 25 core-seconds."""
STANDS = 0.95
"""Recall from which finding no copies of a kind says that there are hardly any."""


def stands(row: PlantedRow) -> bool:
    """Whether enough of the planted copies of a kind were found for "no copies" to hold for it."""
    return row.recall.value >= STANDS


def measure_recall(
    training: NDArray[np.uint8], wanted: Wanted, threshold: float, count: int, seed: int
) -> list[PlantedRow]:
    """Plant ``count`` copies of each kind, and count those that the copy test takes for copies.

    Args:
        training: (M, S, S, C) uint8: the images that copies are made of.
        wanted: The same, prepared.
        threshold: Score above which an image counts as a copy.
        count: Copies of each kind, at least 1.
        seed: Of the choice of originals and places.
    """
    _, copies = plant_copies(grey_pictures(training), count, seed, plant_squared)
    return count_found(match_training(prepare(copies), wanted).score > threshold)


def plant_squared(kind: str, picture: Picture, rng: np.random.Generator) -> Picture:
    """Copy a grey (S, S) uint8 picture, see `planting.plant`, and stretch the copy to (S, S)."""
    return np.asarray(Image.fromarray(plant(kind, picture, rng)).resize(picture.shape, Image.Resampling.BICUBIC))
