"""The Gaussian of the training embeddings, against the covariance that its formula means."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sonoforge.runtime.inference.training_distance import mahalanobis_distances
from sonoforge.training.classifier.trust import fit_reference


def embeddings(scale: float = 1.0, steepest: float = 5.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(4)
    spread = np.geomspace(steepest, 0.5, 200)
    return (scale * (3 + rng.normal(size=(120, 200)) * spread)).astype(np.float32)


def under_full_covariance(own: NDArray[np.float32], axes: int) -> NDArray[np.float64]:
    """Return the distances under the leading axes' variances and the mean variance of the rest."""
    values, vectors = np.linalg.eigh(np.cov(own.astype(np.float64).T))
    rest, leading = values[:-axes].mean(), vectors[:, -axes:]
    modelled = leading @ np.diag(values[-axes:] - rest) @ leading.T + rest * np.eye(own.shape[1])
    centred = own - own.mean(axis=0, dtype=np.float64)
    return np.sqrt(np.einsum("nd,de,ne->n", centred, np.linalg.inv(modelled), centred))


def test_axes_take_half_precision_and_distances_agree_with_the_full_covariance() -> None:
    own = embeddings()
    reference = fit_reference(own, components=16)
    assert reference.components.dtype == np.float16
    assert mahalanobis_distances(own, reference) == pytest.approx(under_full_covariance(own, 16), rel=3e-3)


@pytest.mark.parametrize(("scale", "steepest"), [(1e8, 5.0), (1.0, 1e4)])
def test_axes_that_half_precision_would_spoil_stay_single(scale: float, steepest: float) -> None:
    own = embeddings(scale, steepest)
    reference = fit_reference(own, components=16)
    assert reference.components.dtype == np.float32
    assert mahalanobis_distances(own, reference) == pytest.approx(under_full_covariance(own, 16), rel=3e-3)


def test_axes_without_spread_stay_finite() -> None:
    reference = fit_reference(np.repeat(embeddings()[:1], 8, axis=0))
    assert reference.components.dtype == np.float32
    assert np.isfinite(reference.components).all()
