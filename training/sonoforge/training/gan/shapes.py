"""A small model of lesions' outlines, from which to draw new ones: masks that belong to no patient.

An outline is its place, its size, and its radius as a function of direction.  Malignant lesions are more often taller
than wide, and less even in outline (Stavros et al., "Solid Breast Nodules: Use of Sonography to Distinguish between
Benign and Malignant Lesions", Radiology 196, 1995), which a model of each class learns.  The numbers of an outline are
modelled as normal, and their main directions kept: a point distribution model (Cootes, Taylor, Cooper, Graham, "Active
Shape Models", Comput. Vis. Image Underst. 61, 1995) with points at equal angles, so that none have to be matched.

Parts that cannot be seen from the centre in a straight line, such as the far sides of bays, are lost.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sonoforge.runtime.errors import SonoforgeError

ANGLES = 64
KEPT = 0.98  # share of the variance that the main directions hold
FEWEST = 10  # outlines that a model can be learned from
_STEP = 0.25  # pixels between points of a ray

Masks = NDArray[np.bool_]
Numbers = NDArray[np.float64]


class ShapeModel(NamedTuple):
    """Outlines of one kind, by the D numbers of `describe_outline`."""

    mean: Numbers  # (D,)
    directions: Numbers  # (K, D), each as long as one standard deviation along it


def describe_outline(mask: Masks) -> Numbers:
    """Return the numbers of the largest region of a mask.

    Args:
        mask: (S, S) bool, not empty.

    Returns:
        (3 + 64,): row and column of its centre and the log of its mean radius, as shares of the side; then the log of
        its radius at equal angles, from the right downwards, minus their mean.

    Raises:
        ValueError: An empty mask.
    """
    regions, count = ndimage.label(mask)
    if not count:
        raise ValueError("outline: found an empty mask")
    own = regions == 1 + np.argmax(ndimage.sum_labels(mask, regions, range(1, count + 1)))
    side = mask.shape[0]
    centre = np.array(ndimage.center_of_mass(own))
    reach = np.arange(0, 1.5 * side, _STEP)
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    rays = centre[:, None, None] + np.stack([np.sin(angles), np.cos(angles)])[:, :, None] * reach
    # A pixel at the border of the picture reaches as far as the border.
    pictured = ((rays >= -0.5) & (rays <= side - 0.5)).all(0)
    inside = pictured & (ndimage.map_coordinates(own.astype(np.float32), rays, order=1, mode="nearest") >= 0.5)
    last = (reach[inside.shape[1] - 1 - inside[:, ::-1].argmax(1)] + _STEP / 2) * inside.any(1)
    radii = np.log(np.maximum(last, 0.5) / side)
    return np.concatenate([(centre + 0.5) / side, [radii.mean()], radii - radii.mean()])


def draw_outline(numbers: Numbers, side: int) -> Masks:
    """Return the mask (side, side) of the numbers of an outline."""
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side - numbers[:2, None, None]
    angles = np.arctan2(rows, columns) % (2 * np.pi)
    around = np.exp(numbers[2] + numbers[3:])
    radii = np.interp(angles, np.arange(ANGLES + 1) * 2 * np.pi / ANGLES, np.append(around, around[0]))
    filled: Masks = np.hypot(rows, columns) <= radii
    return filled


def learn_shapes(masks: Masks) -> ShapeModel:
    """Learn a model of masks (N, S, S) bool, leaving out empty ones.

    Raises:
        SonoforgeError: Fewer than 10 outlines.
    """
    found = np.array([describe_outline(mask) for mask in masks if mask.any()])
    if len(found) < FEWEST:
        raise SonoforgeError(f"shape model: found {len(found)} outlines, expected at least {FEWEST}")
    mean = found.mean(0)
    _, spreads, directions = np.linalg.svd((found - mean) / np.sqrt(len(found) - 1), full_matrices=False)
    variances = np.cumsum(spreads**2)
    kept = 1 + int(np.searchsorted(variances, KEPT * variances[-1]))
    return ShapeModel(mean, spreads[:kept, None] * directions[:kept])


def draw_masks(model: ShapeModel, count: int, side: int, seed: int) -> Masks:
    """Draw new masks (count, side, side) from a model; empty ones are drawn again."""
    rng = np.random.default_rng([20, seed])
    drawn: list[Masks] = []
    while len(drawn) < count:
        numbers = model.mean + rng.normal(size=len(model.directions)) @ model.directions
        mask = draw_outline(numbers, side)
        if mask.any():
            drawn.append(mask)
    return np.stack(drawn)
