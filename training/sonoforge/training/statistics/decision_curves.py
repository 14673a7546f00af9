"""Decision curves: whether acting on a classifier's probabilities does more good than acting on all, or on nobody.

Vickers & Elkin, Decision curve analysis: a novel method for evaluating prediction models, Med. Decis. Making 26 (2006).
Whoever acts from a probability t on holds one needless action for t / (1 - t) of the harm of one missed case.  Net
benefit is the share of cases acted on minus, so weighted, the share of needless actions.  It depends on how frequent
the class is among the images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.intervals import PERCENTILES, Floats, Labels, group_weights
from sonoforge.training.statistics.results import DecisionCurve

THRESHOLDS = np.arange(2, 51) / 100
"""From 2 %, from which on BI-RADS advises a biopsy (ACR BI-RADS Atlas, 5th edition, 2013), to even odds."""


def net_benefit(positive: NDArray[np.bool_], probabilities: Floats, weights: Floats) -> Floats:
    """Net benefit at each of the `THRESHOLDS`.

    Args:
        positive: (N,) whether the image is of the class.
        probabilities: (N,) of the class.
        weights: (R, N) how often each image counts.

    Returns:
        (R, T), in cases an image.
    """
    worth = np.where(positive[:, None], 1.0, -THRESHOLDS / (1 - THRESHOLDS))
    acted = np.where(probabilities[:, None] >= THRESHOLDS, worth, 0.0)
    benefit: Floats = weights @ acted / weights.sum(axis=1, keepdims=True)
    return benefit


def decision_curve(positive: NDArray[np.bool_], probabilities: Floats, groups: Labels) -> DecisionCurve:
    """Compute the curve of one arm, with intervals by resampling groups (N,); probabilities must be calibrated."""
    everybody, weights = np.ones(len(positive)), group_weights(groups)
    once = np.ones((1, len(positive)))
    drawn, drawn_all = (net_benefit(positive, own, weights) for own in (probabilities, everybody))
    (value,), (all_value,) = (net_benefit(positive, own, once) for own in (probabilities, everybody))
    low, high = np.percentile(drawn, PERCENTILES, axis=0)
    gain_low = np.percentile(drawn - np.maximum(drawn_all, 0), PERCENTILES[0], axis=0)
    return DecisionCurve(
        thresholds=THRESHOLDS.tolist(),
        net_benefit=value.tolist(),
        low=low.tolist(),
        high=high.tolist(),
        treat_all=all_value.tolist(),
        gain_low=gain_low.tolist(),
    )
