"""Frechet distance (FID): closed forms, scipy's matrix root, and other implementations of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg

from feature_rows import Rows, network_rows, other_library, rows
from sonoforge.runtime.distances.fid_kid import frechet_distance

FIDELITY = other_library("torch_fidelity.metric_fid")
TORCHMETRICS = other_library("torchmetrics.image.fid")


def test_fid_of_two_pairs_of_images_is_its_closed_form() -> None:
    """{a, -a} and {b, -b}: covariances 2aa' and 2bb', so 2|a|^2 + 2|b|^2 - 4|a.b|."""
    a, b = np.array([1.0, 2.0, 0.0]), np.array([0.5, -1.0, 3.0])
    expected = 2 * (a @ a) + 2 * (b @ b) - 4 * abs(a @ b)
    assert frechet_distance(np.stack([a, -a]), np.stack([b, -b])) == pytest.approx(expected)


def test_fid_of_a_set_with_itself_is_zero_and_it_is_symmetric() -> None:
    x, y = rows(20, 30, 0), 1 + rows(25, 30, 1)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x))


def test_fid_of_few_images_is_biased_as_its_warning_says() -> None:
    few = [frechet_distance(rows(20, 8, seed), rows(20, 8, 100 + seed)) for seed in range(20)]
    many = [frechet_distance(rows(200, 8, seed), rows(200, 8, 100 + seed)) for seed in range(20)]
    assert np.mean(few) > 5 * np.mean(many) > 0


def _by_matrix_root(x: Rows, y: Rows, regularised: float) -> float:
    first, second = (np.cov(part.T) + regularised * np.eye(part.shape[1]) for part in (x, y))
    cross = np.trace(linalg.sqrtm(first @ second).real)
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * cross)


@pytest.mark.parametrize(("n", "m"), [(20, 30), (20, 90), (90, 20), (90, 100), (48, 48), (400, 400)])
def test_fid_equals_scipys_matrix_square_root_at_every_rank(n: int, m: int) -> None:
    """48 dimensions: with too few rows the root needs a little on the diagonal, which moves the distance as little."""
    x, y = network_rows(n, 48, 0, blur=3).astype(np.float64), network_rows(m, 48, 500).astype(np.float64)
    scale = float(np.trace(np.cov(y.T))) / 48
    fid = frechet_distance(x, y)
    assert fid == pytest.approx(_by_matrix_root(x, y, 1e-9 * scale), rel=1e-4)


@pytest.mark.parametrize(("count", "width"), [(60, 160), (160, 60)])
def test_fid_agrees_with_torch_fidelity_and_torchmetrics_on_features_of_a_network(count: int, width: int) -> None:
    x, y = network_rows(count, width, 0, blur=3), network_rows(count, width, 200)
    found = frechet_distance(x, y)
    statistics = [FIDELITY.fid_features_to_statistics(torch.from_numpy(part)) for part in (x, y)]
    theirs = FIDELITY.fid_statistics_to_metric(*statistics, verbose=False)[FIDELITY.KEY_METRIC_FID]
    assert found == pytest.approx(theirs, rel=1e-3)
    tensors = [torch.from_numpy(part).double() for part in (x, y)]
    moments = [value for part in tensors for value in (part.mean(0), part.T.cov())]
    assert found == pytest.approx(float(TORCHMETRICS._compute_fid(*moments)), rel=1e-3)


def _with_moments(mean: Rows, covariance: Rows) -> Rows:
    """Return 2 D rows of exactly this mean and this unbiased covariance."""
    values, vectors = np.linalg.eigh(covariance)
    steps = (vectors * np.sqrt(values * (2 * len(mean) - 1) / 2)).T
    return np.concatenate([mean + steps, mean - steps])


def test_distance_of_two_planar_gaussians_that_do_not_commute_is_its_closed_form() -> None:
    """In the plane Tr (S1 S2)^(1/2) = sqrt(Tr S1 S2 + 2 sqrt(det S1 det S2))."""
    first, second = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.8], [-0.8, 5.0]])
    root = np.sqrt(np.trace(first @ second) + 2 * np.sqrt(np.linalg.det(first) * np.linalg.det(second)))
    mean = np.zeros(2)
    found = frechet_distance(_with_moments(mean, first), _with_moments(mean + 1, second))
    assert found == pytest.approx(2 + np.trace(first + second) - 2 * root, rel=1e-6)
