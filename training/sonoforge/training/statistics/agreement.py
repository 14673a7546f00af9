"""Agreement of readers beyond chance: Cohen's kappa of two, Fleiss's of more, with intervals by resampling images."""

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.intervals import Floats, Labels, group_weights, percentile_interval
from sonoforge.training.statistics.results import Interval


def cohen_kappa(ratings: Labels, weights: Floats) -> Floats:
    """Cohen's kappa of two readers (Educ. Psychol. Meas. 20, 1960, p. 40).

    Args:
        ratings: (N, 2) category of each image by reader, from 0.
        weights: (R, N) how often each image counts.

    Returns:
        (R,); nan if both readers gave all images the same category.
    """
    weights = weights / weights.sum(axis=1, keepdims=True)
    indicators = _indicators(ratings)
    observed = weights @ (ratings[:, 0] == ratings[:, 1]).astype(np.float64)
    shares = np.stack([weights @ indicators[:, reader] for reader in range(2)])
    return _beyond_chance(observed, shares.prod(axis=0).sum(axis=1))


def fleiss_kappa(ratings: Labels, weights: Floats) -> Floats:
    """Fleiss's kappa of any number of readers (Psychol. Bull. 76, 1971, equations 3 to 7).

    Args:
        ratings: (N, M) category of each image by reader, from 0; M of at least 2.
        weights: (R, N) how often each image counts.

    Returns:
        (R,); nan if all readers gave all images the same category.
    """
    weights = weights / weights.sum(axis=1, keepdims=True)
    readers = ratings.shape[1]
    counts = _indicators(ratings).sum(axis=1)
    alike = ((counts**2).sum(axis=1) - readers) / (readers * (readers - 1))
    shares = weights @ counts / readers
    return _beyond_chance(weights @ alike, (shares**2).sum(axis=1))


def agreement(ratings: Labels) -> Interval:
    """Return the kappa of readers' ratings (N, M), Cohen's of two and Fleiss's of more, with its 95 % interval.

    Only images are resampled, so the interval holds for these readers.
    """
    kappa = cohen_kappa if ratings.shape[1] == 2 else fleiss_kappa
    return percentile_interval(kappa(ratings, group_weights(np.arange(len(ratings)))))


def _indicators(ratings: Labels) -> NDArray[np.float64]:
    """Return (N, M, K): 1 in the category of each image by reader, else 0."""
    return np.eye(int(ratings.max()) + 1)[ratings]


def _beyond_chance(observed: Floats, expected: Floats) -> Floats:
    kappa: Floats = np.full(len(observed), np.nan)
    np.divide(observed - expected, 1 - expected, out=kappa, where=1 - expected > 1e-12)
    return kappa
