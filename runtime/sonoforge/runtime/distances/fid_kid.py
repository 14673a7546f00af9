"""Measure how far apart two sets of feature vectors are, by FID and KID.

*FID*, the Frechet distance of two Gaussians: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a
Local Nash Equilibrium", NeurIPS 2017, equation 6.  For few images it is biased by a term that also depends on the
generator (Chong, Forsyth, "Effectively Unbiased FID and Inception Score", CVPR 2020): for a few hundred medical images
report KID, and add FID only between sets of equal size.

*KID*: Binkowski et al., "Demystifying MMD GANs", ICLR 2018: the squared maximum mean discrepancy under the kernel k(x,
y) = (x.y / D + 1)^3 (section 4), by its unbiased estimate (equation 4), so values may be negative.  The mean over all
possible subsets, used in published figures, *is* the estimate from the whole sets.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed

DEGREE = 3  # of the kernel (Binkowski 2018, section 4): the lowest that also compares skewness
_BLOCK = 1024  # rows of the kernel matrix at a time

Embeddings = NDArray[np.float64]
"""(N, D): one feature vector for each image."""


def check_pair(
    metric: str, generated: NDArray[Any], real: NDArray[Any], minimum: int = 2
) -> tuple[Embeddings, Embeddings]:
    """Check two sets (N, D) and (M, D) of finite numbers, and return them in double precision.

    Raises:
        ValueError: The sets are not two tables of equal width.
        SonoforgeError: A set has fewer images than ``minimum``, or a feature is not a finite number.
    """
    if generated.ndim != 2 or real.ndim != 2 or generated.shape[1] != real.shape[1]:
        raise ValueError(f"{metric}: shapes {generated.shape} and {real.shape} are not (N, D) and (M, D)")
    for name, rows in (("generated", generated), ("real", real)):
        if len(rows) < minimum:
            raise SonoforgeError(f"{metric}: {len(rows)} {name} images are too few; at least {minimum} are needed")
        if not np.isfinite(rows).all():
            raise SonoforgeError(
                f"{metric}: features of {name} images are not finite numbers; check the images and the weights of the "
                "feature network"
            )
    return generated.astype(np.float64), real.astype(np.float64)


def frechet_distance(generated: NDArray[Any], real: NDArray[Any]) -> float:
    """Measure FID of (N, D) and (M, D), N and M at least 2: |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    Here m are means and S unbiased covariances; FID is in squared units of the features, 0 or more.
    """

    def covariance_factor(centred: Embeddings) -> NDArray[np.float64]:
        """Return A, (min(N, D), D), with A'A the unbiased covariance (D, D) of centred rows (N, D)."""
        count, size = centred.shape
        if count <= size:
            return centred / math.sqrt(count - 1)
        # Far cheaper than the triangle of the rows' QR decomposition: N enters one matrix product only.
        values, vectors = np.linalg.eigh(centred.T @ centred / (count - 1))
        return np.asarray(np.sqrt(values.clip(0))[:, None] * vectors.T)

    x, y = check_pair("FID", generated, real)
    difference = x.mean(0) - y.mean(0)
    a, b = (rows - rows.mean(0) for rows in (x, y))
    spreads = [float(np.square(centred).sum()) / (len(centred) - 1) for centred in (a, b)]
    # The nonzero eigenvalues of S1 S2 = A'A B'B are those of (A B') (A B')', that is, the squared singular values of
    # A B'; Tr (S1 S2)^(1/2) is the sum of the singular values.  Unlike a matrix square root this needs no inverse, no
    # correction of imaginary parts and no full rank, and with N <= D it never forms S.
    cross = float(np.linalg.svd(covariance_factor(a) @ covariance_factor(b).T, compute_uv=False).sum())
    value = float(difference @ difference) + sum(spreads) - 2 * cross
    return max(value, 0.0)  # rounding may leave -1e-13


class Kid(NamedTuple):
    """A kernel distance."""

    value: float  # estimate of the squared MMD; unbiased, so it may be below 0
    standard_error: float  # of ``value``, over other images (whole sets) or other subsets of the same images (subsets)


def kernel_distance(generated: NDArray[Any], real: NDArray[Any]) -> Kid:
    """Measure KID from the whole sets at once, with its jackknife standard error.

    The jackknife leaves out one image at a time, first from one set and then from the other, and adds the two variances
    (Arvesen, Ann. Math. Statist. 40, 1969).  On average its error is too wide (Efron, Stein, Ann. Statist. 9, 1981).
    It treats the images as independent.

    Examples:
        >>> import numpy as np
        >>> from sonoforge.runtime import Classifier, distances
        >>> noise, classifier = np.random.default_rng(0), Classifier()
        >>> scans = [noise.integers(0, high, (64, 64), np.uint8) for high in (60, 70, 80, 200, 220, 240)]
        >>> embeddings = np.stack([classifier.classify(scan).embedding for scan in scans])
        >>> distances.kid(embeddings[:3], embeddings[3:]).value > 0
        True

    Args:
        generated: (N, D), N >= 3.
        real: (M, D), M >= 3.

    Raises:
        SonoforgeError: A set has fewer than three images, or a feature is not a finite number.
    """
    x, y = check_pair("KID", generated, real, minimum=3)
    n, m = len(x), len(y)
    x_to_x, y_to_y = _sums(x, x)[0] - _self_kernel(x), _sums(y, y)[0] - _self_kernel(y)
    x_to_y, y_to_x = _sums(x, y)
    value = _estimate(x_to_x.sum(), y_to_y.sum(), x_to_y.sum(), n, m)
    # Without image i the sums lose its row and, within its own set, its column, which is equal.
    without_x = _estimate(x_to_x.sum() - 2 * x_to_x, y_to_y.sum(), x_to_y.sum() - x_to_y, n - 1, m)
    without_y = _estimate(x_to_x.sum(), y_to_y.sum() - 2 * y_to_y, x_to_y.sum() - y_to_x, n, m - 1)
    error = math.sqrt((n - 1) * np.var(without_x) + (m - 1) * np.var(without_y))
    return Kid(float(value), error)


def subset_kernel_distance(
    generated: NDArray[Any], real: NDArray[Any], subsets: int, subset_size: int, seed: int = 0
) -> Kid:
    """Measure KID as published figures do, as the mean over random subsets; prefer `kernel_distance` for small sets.

    ``subset_size`` images of each kind are drawn without replacement.  All subsets come from the same images, so the
    standard error does not show how far other images would move the mean.
    """
    x, y = check_pair("KID", generated, real)
    if subsets < 2 or not 2 <= subset_size <= min(len(x), len(y)):
        raise SonoforgeError(
            f"KID: cannot draw {subsets} subsets of {subset_size} from {len(x)} generated and {len(y)} real images; "
            f"give at least 2 subsets of 2 to {min(len(x), len(y))}, or measure on the whole sets"
        )
    values = []
    for subset in range(subsets):
        rng = np.random.default_rng(derive_seed(seed, "KID subset", subset))
        some_x, some_y = (rows[rng.choice(len(rows), subset_size, replace=False)] for rows in (x, y))
        x_to_x = (_sums(some_x, some_x)[0] - _self_kernel(some_x)).sum()
        y_to_y = (_sums(some_y, some_y)[0] - _self_kernel(some_y)).sum()
        values.append(_estimate(x_to_x, y_to_y, _sums(some_x, some_y)[0].sum(), subset_size, subset_size))
    return Kid(float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(subsets))


def _estimate(x_to_x: Any, y_to_y: Any, x_to_y: Any, n: int, m: int) -> Any:
    """Evaluate equation 4 of Binkowski 2018 from sums of the kernel over pairs of *different* images."""
    return x_to_x / (n * (n - 1)) + y_to_y / (m * (m - 1)) - 2 * x_to_y / (n * m)


def _sums(first: Embeddings, second: Embeddings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums of the rows (N,) and columns (M,) of the kernel (N, M), block by block to save memory."""
    rows, columns = [], np.zeros(len(second))
    for start in range(0, len(first), _BLOCK):
        values = first[start : start + _BLOCK] @ second.T
        values /= first.shape[1]
        values += 1.0
        kernel = values * values * values  # DEGREE factors: a general power takes a hundred times as long
        rows.append(kernel.sum(1))
        columns += kernel.sum(0)
    return np.concatenate(rows), columns


def _self_kernel(rows: Embeddings) -> NDArray[np.float64]:
    """Return the kernel of each row with itself (N,)."""
    return np.asarray(((rows * rows).sum(1) / rows.shape[1] + 1.0) ** DEGREE)
