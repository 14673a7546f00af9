"""How well a predicted label map agrees with the reference: Dice, IoU and HD95 of each structure of a case.

A case is what is scored as one: the slices of a volume together, or a single image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Maps = NDArray[np.uint8]
"""Label maps: 0 is the background, k the k-th structure."""

PERCENTILE = 95.0  # of the distances, so that a few stray pixels do not decide


class Agreement(NamedTuple):
    """The scores of one structure in one case; nan where a score is not defined."""

    dice: float  # 2 |A and B| / (|A| + |B|); nan where the reference has nothing of the structure
    iou: float  # |A and B| / |A or B|; nan as for Dice
    # 95th percentile of the distances between the outlines (`hausdorff_95`); nan where no slice has both.
    hd95: float
    invented: bool  # the prediction has the structure, the reference does not


def score_case(reference: Maps, predicted: Maps, structure: int, spacing: tuple[float, float]) -> Agreement:
    """Compare a structure of one case.

    Args:
        reference: (D, H, W) uint8 label maps of the case's D slices.
        predicted: (D, H, W) uint8, the network's.
        structure: Its label, 1 to K.
        spacing: Distance of two pixels down and across, in the unit that HD95 is wanted in.
    """
    true, found = reference == structure, predicted == structure
    both, sizes = int((true & found).sum()), int(true.sum() + found.sum())
    if not true.any():
        return Agreement(math.nan, math.nan, math.nan, bool(found.any()))
    return Agreement(2 * both / sizes, both / (sizes - both), hausdorff_95(true, found, spacing), invented=False)


def hausdorff_95(one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    """Return the 95 % Hausdorff distance of the outlines of two stacks of masks, slice by slice.

    Huttenlocher, Klanderman, Rucklidge, IEEE TPAMI 15, 1993, section II: the larger of the two directed distances,
    here each the 95th percentile over all outline pixels.  Distances are within slices, as slices may lie ten times as
    far apart as pixels, or at an unknown distance; slices in which either mask is empty have none and are left out.

    Args:
        one: (D, H, W) bool.
        other: (D, H, W) bool.
        spacing: Distance of two pixels down and across.

    Returns:
        The distance in the unit of ``spacing``; nan where no slice has both.
    """
    there: list[NDArray[np.float64]] = []
    back: list[NDArray[np.float64]] = []
    for first, second in zip(one, other, strict=True):
        if first.any() and second.any():
            first_outline, second_outline = _outline(first), _outline(second)
            there.append(ndimage.distance_transform_edt(~second_outline, sampling=spacing)[first_outline])
            back.append(ndimage.distance_transform_edt(~first_outline, sampling=spacing)[second_outline])
    if not there:
        return math.nan
    return float(max(np.percentile(np.concatenate(directed), PERCENTILE) for directed in (there, back)))


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask with a neighbour outside; beyond the image's edge is outside."""
    inner: NDArray[np.bool_] = ndimage.binary_erosion(mask)
    return mask & ~inner
