"""How often to abstain so that few of the other scans are answered wrongly: the risk-coverage curve.

El-Yaniv & Wiener, On the foundations of noise-free selective classification, JMLR 11 (2010); Geifman & El-Yaniv,
Selective classification for deep neural networks, NeurIPS 2017.  A classifier abstains by the probability of their
label, the least probable first: on sealed folds of BUSI no score that also used the distances from the training images
made a better curve (``runtime/docs/trust.md``).
"""

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.intervals import PERCENTILES, Floats, Labels, resample_groups
from sonoforge.training.statistics.results import Cut, IntervalResult

TARGETS = (0.10, 0.05, 0.02)
"""Error rates among the scans that keep their label."""


def risks(wrong: NDArray[np.bool_], confidence: Floats) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Error rate when only the surest scans keep their label.

    Args:
        wrong: (N,) whether the label is wrong.
        confidence: (N,) its probability.

    Returns:
        Error rate, number of scans kept, and least probability, (K,) for each different probability, falling.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, sure = wrong[order], confidence[order]
    ends = np.flatnonzero(np.append(sure[:-1] > sure[1:], True))  # equal probabilities are kept or left together
    kept = (ends + 1).astype(np.int64)
    return np.cumsum(ranked)[ends] / kept, kept, sure[ends]


def area_under_risk(wrong: NDArray[np.bool_], confidence: Floats) -> float:
    """Mean error rate over all numbers of scans kept, 1 to N; lower is better; the error rate itself by chance."""
    risk, kept, _ = risks(wrong, confidence)
    return float(np.average(risk, weights=np.diff(kept, prepend=0)))


def cuts(wrong: NDArray[np.bool_], confidence: Floats, groups: Labels) -> list[Cut]:
    """Find the least abstention for each of the `TARGETS`, with 95 % intervals by resampling groups (N,)."""
    resampled = resample_groups(groups)
    drawn = [risks(wrong[indices], confidence[indices]) for indices in resampled]
    counts = [len(indices) for indices in resampled]
    found = []
    for error in TARGETS:
        share, least = _least_abstained(risks(wrong, confidence), len(wrong), error)
        shares = [_least_abstained(own, count, error)[0] for own, count in zip(drawn, counts, strict=True)]
        low, high = np.percentile(shares, PERCENTILES)
        abstained = IntervalResult(value=share, low=float(low), high=float(high))
        found.append(Cut(error=error, least_probability=least, abstained=abstained))
    return found


def _least_abstained(curve: tuple[Floats, NDArray[np.int64], Floats], count: int, error: float) -> tuple[float, float]:
    """Return the share abstained from and the least probability kept."""
    risk, kept, least = curve
    allowed = np.flatnonzero(risk <= error)
    if not len(allowed):
        return 1.0, 1.0
    return 1 - float(kept[allowed[-1]]) / count, float(least[allowed[-1]])
