"""Measure how alike the images of a set are: the mean multi-scale structural similarity of random pairs.

Wang, Simoncelli, Bovik, Asilomar 2003, as a measure of a generator's variety since Odena, Olah, Shlens, ICML 2017,
section 4.3: the higher the mean over pairs, compared with real images, the fewer different images there are.

The computation is torchmetrics' own.  Five scales need images of 176 pixels.  Smaller ones are compared at the finest
scales that leave a whole window at the coarsest, with weights rescaled to sum to 1.  Figures for different image sizes
are therefore not comparable.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003, section 3.2, finest scale first
WINDOW = 11
_BLOCK = 32  # pairs at a time


class MsSsim(NamedTuple):
    """A mean similarity and how it was measured."""

    value: float  # mean over pairs, 0 to 1; 1 for one image repeated
    standard_error: float  # of `value`, by the jackknife over images
    pairs: int  # number of compared pairs
    scales: int


def scale_weights(image_size: int) -> tuple[float, ...]:
    """Return the weights of the k scales that images of this side allow, up to 5: image_size // 2^(k - 1) >= 11.

    That means 11, 22, 44, 88 and 176 pixels; torchmetrics requires 99 pixels for four.

    Raises:
        SonoforgeError: The side is smaller than the window.
    """
    if image_size < WINDOW:
        raise SonoforgeError(
            f"MS-SSIM: images of {image_size} pixels are smaller than its window of {WINDOW}; leave this metric out"
        )
    # The second and third conditions are torchmetrics' own.
    scales = max(
        k
        for k in range(1, len(WEIGHTS) + 1)
        if image_size >> (k - 1) >= WINDOW and image_size // max(1, k - 1) ** 2 >= WINDOW and image_size >= 2**k
    )
    return tuple(weight / sum(WEIGHTS[:scales]) for weight in WEIGHTS[:scales])


def mean_ms_ssim(images: NDArray[np.uint8], pairs: int = 1000, seed: int = 0) -> MsSsim:
    """Compare random pairs of different images (N, S, S, C) uint8 of one set, at most all pairs, none twice.

    Raises:
        SonoforgeError: There are fewer than three images, no pairs, or images below 11 pixels.
    """
    if len(images) < 3 or pairs < 1:
        raise SonoforgeError(
            f"MS-SSIM: {len(images)} images and {pairs} pairs; at least 3 images and 1 pair are needed"
        )
    weights = scale_weights(images.shape[1])
    first, second = draw_pairs(len(images), pairs, seed)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(first), _BLOCK)]
    values = np.concatenate([pair_ms_ssim(images[first[block]], images[second[block]]) for block in blocks])
    # The jackknife leaves out each image with all its pairs (Arvesen, Ann. Math. Statist. 40, 1969), on the wide side.
    sums, numbers = np.zeros(len(images)), np.zeros(len(images))
    for side in (first, second):
        np.add.at(sums, side, values)
        np.add.at(numbers, side, 1)
    left = len(values) - numbers
    without = (values.sum() - sums)[left > 0] / left[left > 0]
    error = math.sqrt((len(without) - 1) * float(np.var(without)))
    return MsSsim(float(values.mean()), error, len(first), len(weights))


def pair_ms_ssim(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the similarity of each pair of images (P, S, S, C) uint8: (P,) float64, 0 to 1.

    Raises:
        SonoforgeError: The images are below 11 pixels.
    """
    import_torchvision()  # torchmetrics imports it, and fails where torch is of another build
    from torchmetrics.functional.image import (  # noqa: PLC0415 - seconds, and only for this metric
        multiscale_structural_similarity_index_measure as ms_ssim,
    )

    weights = scale_weights(first.shape[1])
    a, b = (torch.from_numpy(np.ascontiguousarray(part)).permute(0, 3, 1, 2).float() / 255 for part in (first, second))
    with torch.inference_mode():
        values = ms_ssim(a, b, reduction="none", data_range=1.0, betas=weights, normalize="relu")
    return np.asarray(values.double().reshape(-1).numpy())


def draw_pairs(count: int, pairs: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw pairs (i, j), 0 <= i < j < count, none twice: the i and the j, (P,) int64 with P at most ``pairs``."""
    available = count * (count - 1) // 2
    rng = np.random.default_rng(derive_seed(seed, "image pairs"))
    number = np.sort(rng.choice(available, min(pairs, available), replace=False))
    # Pair (i, j) has the number j (j - 1) / 2 + i.
    second = ((1 + np.sqrt(1 + 8 * number)) // 2).astype(np.int64)
    return number - second * (second - 1) // 2, second
