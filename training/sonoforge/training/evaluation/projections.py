"""Map real and generated images to the plane: a picture to look at, not a measure.

Two sets may overlap in the plane and be far apart elsewhere.  The share of generated images inside the convex hull of
the real ones (PCA on pixels) is printed because published studies of ultrasound GANs judge by that picture; one stray
image can stretch a hull, so no answer here depends on it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import ConvexHull, QhullError
from sklearn.decomposition import KernelPCA

from sonoforge.runtime.errors import SonoforgeError

PCA_SIDE = 224  # the images' side in the publication: Ryspayeva, Salykova 2025 (PCA of real and generated images)
_BLOCK = 4096  # pixels at a time
_THIN = 1e-9  # a set whose smaller extent is below this share of the larger one is a line

Points = NDArray[np.float64]  # (N, 2)


class Projection(NamedTuple):
    """Real and generated images as points in the plane."""

    real: Points
    fake: Points
    protocol: str  # how it was made, in one line
    explained: Sequence[float]  # share of the real images' variance along each axis, 0 to 1
    fakes_inside: float | None  # share of generated points in the real points' hull; None: they have no hull


def pca_projection(real: NDArray[np.uint8], fake: NDArray[np.uint8]) -> Projection:
    """Project both sets, (M, S, S, C) and (N, S, S, C) uint8, onto two principal components of the real images' pixels.

    As published (Ryspayeva, Salykova 2025): grey images of 224 x 224 pixels, flattened; the components are fitted only
    to the real images. Grey by ITU-R BT.601 luma; resized by Pillow's bilinear filter; grey levels divided by 255,
    centred on the real images' mean. The components are exact: eigenvectors of the real images' Gram matrix, summed
    over blocks of pixels to bound the memory. Signs make each component's largest real score positive.

    Raises:
        SonoforgeError: There are fewer than three real images, or they are all equal.
    """
    if len(real) < 3:
        raise SonoforgeError(f"PCA: {len(real)} real images; give at least 3")
    grey_real, grey_fake = _grey_rows(real), _grey_rows(fake)
    if (grey_real == grey_real[0]).all():
        raise SonoforgeError("PCA: all real images are equal; check the folder")
    count, kernel = len(real), np.zeros((len(real) + len(fake), len(real)))
    for start in range(0, grey_real.shape[1], _BLOCK):
        part = np.concatenate([grey[:, start : start + _BLOCK] for grey in (grey_real, grey_fake)]) / 255.0
        part -= part[:count].mean(0)
        kernel += part @ part[:count].T
    components = KernelPCA(2, kernel="precomputed", eigen_solver="dense").fit(kernel[:count])
    points, projected = np.split(components.transform(kernel), [count])
    protocol = (
        f"PCA fitted on the {count} real images: grey (BT.601), {PCA_SIDE} x {PCA_SIDE} pixels (bilinear), flattened"
    )
    explained = (components.eigenvalues_ / np.trace(kernel)).tolist()
    return Projection(points, projected, protocol, explained, share_inside(projected, points))


def _grey_rows(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn (N, S, S, C) into flattened grey images (N, 224 * 224), uint8."""
    rows = np.empty((len(images), PCA_SIDE * PCA_SIDE), dtype=np.uint8)
    for row, pixels in zip(rows, images, strict=True):
        grey = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
        row[:] = np.asarray(grey.resize((PCA_SIDE, PCA_SIDE), Image.Resampling.BILINEAR)).ravel()
    return rows


def hull_of(points: Points) -> ConvexHull | None:
    """Return the convex hull of points; None for fewer than three, or for points on one line."""
    if len(points) < 3:
        return None
    extents = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if extents[1] <= _THIN * extents[0]:
        return None
    try:
        return ConvexHull(points)
    except QhullError:  # flat to within rounding
        return None


def share_inside(points: Points, others: Points) -> float | None:
    """Return the share of points in others' convex hull, border included up to rounding; None without a hull."""
    hull = hull_of(others)
    if hull is None:
        return None
    beyond = points @ hull.equations[:, :2].T + hull.equations[:, 2]
    return float((beyond <= _THIN * np.ptp(others, axis=0).max()).all(1).mean())
