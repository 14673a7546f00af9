"""Minimum redundancy, maximum relevance: features that tell the class and repeat each other little.

Peng, Long & Ding, "Feature selection based on mutual information", IEEE PAMI 27 (8), 2005.  Written here because the
maintained package (mrmr_selection) ranks by F statistics and correlations and not by the paper's mutual information,
and the paper's own program is no longer kept up.
"""

import numpy as np
from numpy.typing import NDArray

STATES = 3
"""Of a discretised feature: below, within and above one standard deviation of its mean (Peng et al. 2005)."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def discretise(values: NDArray[np.float32]) -> Labels:
    """Turn features (N, D) into states (N, D): 0 below mean - sd, 2 above mean + sd, 1 between."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    states: Labels = 1 - (values < mean - deviation).astype(np.int64) + (values > mean + deviation)
    return states


def select_features(states: Labels, labels: Labels, count: int) -> Labels:
    """Choose features one by one, each with the largest relevance less redundancy (their equation 6, difference).

    Relevance is the mutual information with the class, redundancy the mean of that with the features chosen before.

    Args:
        states: Discretised features (N, D), see `discretise`.
        labels: Classes (N,).
        count: Number of features wanted; all D where there are not more.

    Returns:
        Indices of the features in the order of choice, (min(count, D),).
    """
    columns = np.eye(STATES, dtype=np.float32)[states]  # (N, D, STATES)
    relevance = _information(columns, np.eye(labels.max() + 1)[labels])
    redundancy = np.zeros(states.shape[1])
    free = np.ones(states.shape[1], bool)
    chosen: list[int] = []
    for _ in range(min(count, states.shape[1])):
        score = relevance - redundancy / max(1, len(chosen))
        best = int(np.where(free, score, -np.inf).argmax())
        chosen.append(best)
        free[best] = False
        redundancy += _information(columns, columns[:, best])
    return np.array(chosen, np.int64)


def _information(columns: NDArray[np.float32], other: NDArray[np.floating]) -> Floats:
    """Mutual information in nats of each of D features (N, D, STATES) with a variable as one-hot rows (N, K): (D,)."""
    images, features, states = columns.shape
    counts = columns.reshape(images, -1).T.astype(np.float32) @ other.astype(np.float32)
    joint = counts.reshape(features, states, -1).astype(np.float64) / images
    independent = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log(joint / independent), 0.0)
    total: Floats = terms.sum(axis=(1, 2))
    return total
