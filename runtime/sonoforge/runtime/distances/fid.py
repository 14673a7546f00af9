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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.distances.embeddings import Embeddings, check_pair


def frechet_distance(generated: NDArray[Any], real: NDArray[Any]) -> float:
    """Measure FID: |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), means m and unbiased covariances S.

    Biased for few images, with an expectation above 0 even for equal distributions: see the top of the file.

    Args:
        generated: (N, D), N >= 2.
        real: (M, D), M >= 2.

    Returns:
        0 or more, in squared units of the features.

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
    return max(value, 0.0)  # rounding may leave -1e-13


def _covariance_factor(centred: Embeddings) -> NDArray[np.float64]:
    """Return A, (min(N, D), D), with A'A the unbiased covariance (D, D) of centred rows (N, D)."""
    count, size = centred.shape
    if count <= size:
        return centred / math.sqrt(count - 1)
    # Far cheaper than the triangle of the rows' QR decomposition: N enters one matrix product only.
    values, vectors = np.linalg.eigh(centred.T @ centred / (count - 1))
    return np.asarray(np.sqrt(values.clip(0))[:, None] * vectors.T)
