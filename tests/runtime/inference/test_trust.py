"""Trust against closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from sonoforge.runtime.bundle.classification import TrustLimits
from sonoforge.runtime.inference import trust


def test_distance_is_mahalanobis_with_the_full_covariance() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(12, 12)))[0][:, :4]
    variances, residual, mean = np.array([9.0, 4.0, 2.0, 1.5]), 0.6, rng.normal(size=12)
    covariance = axes @ np.diag(variances) @ axes.T + residual**2 * (np.eye(12) - axes @ axes.T)
    reference = trust.TrustReference(
        mean.astype(np.float32), (axes / np.sqrt(variances)).astype(np.float32), np.array([residual], np.float32)
    )
    points = rng.normal(size=(20, 12)) * 3
    found = trust.distances(points.astype(np.float32), reference)
    inverse = np.linalg.inv(covariance)
    expected = [math.sqrt((point - mean) @ inverse @ (point - mean)) for point in points]
    assert found == pytest.approx(expected, rel=1e-4)


def test_score_passes_through_the_two_measured_points() -> None:
    limits = TrustLimits(median=7.0, threshold=11.0)
    assert trust.tail_probability(7.0, limits) == pytest.approx(0.5)
    assert trust.tail_probability(11.0, limits) == pytest.approx(0.05)
    assert trust.tail_probability(0.0, limits) == 1.0
    assert trust.tail_probability(1e300, limits) == 0.0


def test_score_is_exact_for_weibull_distances() -> None:
    # Rayleigh: P(D > d) = exp(-d^2 / 2)
    limits = TrustLimits(median=math.sqrt(2 * math.log(2)), threshold=math.sqrt(2 * math.log(20)))
    for d in (0.1, 0.5, 1.0, 2.0, 4.0):
        assert trust.tail_probability(d, limits) == pytest.approx(math.exp(-d * d / 2))


def test_score_falls_with_distance_without_ties() -> None:
    scores = [trust.tail_probability(d, TrustLimits(30.0, 40.0)) for d in np.linspace(5, 90, 200)]
    assert all(0 < later < earlier <= 1 for earlier, later in pairwise(scores))


def test_beyond_the_threshold_the_reason_is_told() -> None:
    limits = TrustLimits(30.0, 40.0)
    near, far = trust.assess(40.0, limits), trust.assess(40.01, limits)
    assert near.in_distribution
    assert near.reasons == ()
    assert not far.in_distribution
    assert "distance 40.0" in far.reasons[0]
    assert far.score < 0.05 <= near.score + 1e-12
