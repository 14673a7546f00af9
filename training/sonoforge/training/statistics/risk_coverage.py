"""How often to abstain so that few of the other scans are answered wrongly: the risk-coverage curve.

El-Yaniv & Wiener, On the foundations of noise-free selective classification, JMLR 11 (2010); Geifman & El-Yaniv,
Selective classification for deep neural networks, NeurIPS 2017.  A classifier abstains by the probability of their
label, the least probable first: on sealed folds of BUSI no score that also used the distances from the training images
made a better curve (``runtime/docs/trust.md``).
"""

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.intervals import Floats, Labels, group_weights, percentile_interval
from sonoforge.training.statistics.results import Cut

TARGETS = (0.10, 0.05, 0.02)
"""Error rates among the scans that keep their label."""


def risks(wrong: NDArray[np.bool_], confidence: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Error rate when only the surest scans keep their label.

    Args:
        wrong: (N,) whether the label is wrong.
        confidence: (N,) its probability.
        weights: (R, N) how often each scan counts.

    Returns:
        Error rate (R, K), number of scans kept (R, K), and least probability (K,), for each different probability,
        falling; the rate is nan where none of the scans kept counts.
    """
    order = np.argsort(-confidence, kind="stable")
    sure = confidence[order]
    ends = np.flatnonzero(np.append(sure[:-1] > sure[1:], True))  # equal probabilities are kept or left together
    kept = np.cumsum(weights[:, order], axis=1)[:, ends]
    errors = np.cumsum(np.where(wrong[order], weights[:, order], 0.0), axis=1)[:, ends]
    return np.divide(errors, kept, out=np.full(kept.shape, np.nan), where=kept > 0), kept, sure[ends]


def area_under_risk(wrong: NDArray[np.bool_], confidence: Floats) -> float:
    """Mean error rate over all numbers of scans kept, 1 to N; lower is better; the error rate itself by chance."""
    (risk,), (kept,), _ = risks(wrong, confidence, np.ones((1, len(wrong))))
    return float(np.average(risk, weights=np.diff(kept, prepend=0)))


def cuts(wrong: NDArray[np.bool_], confidence: Floats, groups: Labels) -> list[Cut]:
    """Find the least abstention for each of the `TARGETS`, with 95 % intervals by resampling groups (N,)."""
    weights = group_weights(groups)
    risk, kept, least = risks(wrong, confidence, weights)
    found = []
    for error in TARGETS:
        most = np.where(risk <= error, kept, 0.0).max(axis=1)
        allowed = np.flatnonzero(risk[0] <= error)
        found.append(
            Cut(
                error=error,
                least_probability=float(least[allowed[-1]]) if len(allowed) else 1.0,
                abstained=percentile_interval(1 - most / weights.sum(axis=1)),
            )
        )
    return found
