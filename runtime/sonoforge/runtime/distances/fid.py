"""Frechet distance between two sets of feature vectors, taken as Gaussians (Heusel 2017, "FID").

Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, "GANs Trained by a Two Time-Scale Update Rule
Converge to a Local Nash Equilibrium", NeurIPS 2017, equation 6.

WARNING: FID of few images is biased, and badly so.  Chong, Forsyth ("Effectively Unbiased FID and
Inception Score and Where to Find Them", CVPR 2020): its expectation is above the true distance by a term
that depends on the number of images *and on the generator*, so that even at equal numbers the better of
two generators may get the worse figure.  Published protocols take 50 000 images.  With fewer images
than the features have dimensions (D = 512 to 2048) the covariances are not even of full rank, and two
halves of one and the same data set are far apart.  On a few hundred medical images report KID; give
FID beside it for comparison with tables that have nothing else, always with the counts, and only between
sets of equal counts.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.distances.embeddings import Embeddings, check_pair
from sonoforge.runtime.errors import SonoforgeError


class Fid(NamedTuple):
    """A Frechet distance and the protocol it was measured under.

    Attributes:
        value: Squared Frechet distance, 0 or more; biased upwards, see the top of the file.
        features: Name of the feature network and hash of its weights.
        generated: Number of generated images.
        real: Number of real images.
    """

    value: float
    features: str
    generated: int
    real: int


def frechet_distance(generated: NDArray[Any], real: NDArray[Any], features: str) -> Fid:
    """Measure FID: |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), means m and unbiased covariances S.

    Biased for few images, with an expectation above 0 even for equal distributions: see the top of the file.

    Args:
        generated: (N, D), N >= 2.
        real: (M, D), M >= 2.
        features: Name of the network the vectors are from.

    Raises:
        SonoforgeError: Fewer than two images in a set, or a feature that is not a finite number.
    """
    x, y = check_pair("FID", generated, real)
    difference = x.mean(0) - y.mean(0)
    a, b = (rows - rows.mean(0) for rows in (x, y))
    spreads = [float(np.square(centred).sum()) / (len(centred) - 1) for centred in (a, b)]
    # The eigenvalues of S1 S2 = A'A B'B, but for zeros, are those of (A B') (A B')', that is the squared
    # singular values of A B': Tr (S1 S2)^(1/2) is their plain sum.  Unlike a matrix square root this needs no
    # inverse, no correction of imaginary parts and no full rank, and with N <= D it never forms S.
    cross = float(np.linalg.svd(_covariance_factor(a) @ _covariance_factor(b).T, compute_uv=False).sum())
    value = float(difference @ difference) + sum(spreads) - 2 * cross
    return Fid(max(value, 0.0), features, len(x), len(y))  # rounding may leave -1e-13


def gaussian_frechet_distance(
    mean1: NDArray[Any], cov1: NDArray[Any], mean2: NDArray[Any], cov2: NDArray[Any]
) -> float:
    """Squared Frechet distance between two Gaussians given by their moments (Dowson, Landau 1982).

    |m1 - m2|^2 + Tr(S1 + S2 - 2 (R S2 R)^(1/2)) with R the symmetric root of S1: R S2 R has the eigenvalues of
    S1 S2, but is symmetric, so that they come out real and accurate.

    Source: D. C. Dowson, B. V. Landau, "The Frechet distance between multivariate normal distributions",
    J. Multivariate Analysis 12, 1982.

    Args:
        mean1: (D,) mean of the first.
        cov1: (D, D) covariance of the first: symmetric, no eigenvalue below 0.
        mean2: (D,) mean of the second.
        cov2: (D, D) covariance of the second.

    Returns:
        0 or more, in squared units of the features.

    Raises:
        ValueError: Shapes that do not fit each other, or a matrix that is no covariance.
        SonoforgeError: A number that is not finite.
    """
    means = [np.asarray(mean, np.float64) for mean in (mean1, mean2)]
    covariances = [np.asarray(covariance, np.float64) for covariance in (cov1, cov2)]
    shapes = [array.shape for array in (*means, *covariances)]
    (size, *_) = shapes[0] or (0,)
    if shapes != [(size,), (size,), (size, size), (size, size)]:
        raise ValueError(f"FID: found means and covariances of shapes {shapes}, expected (D,) twice and (D, D) twice")
    if not all(np.isfinite(array).all() for array in (*means, *covariances)):
        raise SonoforgeError("FID: found a mean or covariance that is not a finite number; measure the features again")
    for covariance in covariances:
        if not np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9 * abs(covariance).max()):
            raise ValueError("FID: found a matrix that is not symmetric, expected a covariance")
    values, vectors = np.linalg.eigh(covariances[0])
    least, largest = np.linalg.eigvalsh(covariances[1])[[0, -1]]
    # Rounding leaves eigenvalues of a covariance without full rank a little below 0, in proportion to the largest.
    if values[0] < -1e-6 * abs(values[-1]) or least < -1e-6 * abs(largest):
        raise ValueError("FID: found a matrix with an eigenvalue below 0, expected a covariance")
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    product = root @ covariances[1] @ root
    cross = float(np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(0)).sum())
    difference = means[0] - means[1]
    trace = float(np.trace(covariances[0]) + np.trace(covariances[1]))
    return max(float(difference @ difference) + trace - 2 * cross, 0.0)


def _covariance_factor(centred: Embeddings) -> NDArray[np.float64]:
    """Return A, (min(N, D), D), with A'A the unbiased covariance (D, D) of centred rows (N, D)."""
    count, size = centred.shape
    if count <= size:
        return centred / math.sqrt(count - 1)
    # Far cheaper than the triangle of the rows' QR decomposition: N enters one matrix product only.
    values, vectors = np.linalg.eigh(centred.T @ centred / (count - 1))
    factor: NDArray[np.float64] = np.sqrt(values.clip(0))[:, None] * vectors.T
    return factor
