"""Frechet distance (FID): closed forms, scipy's matrix root, and other implementations of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg

from feature_rows import Rows, network_rows, other_library, rows
from sonoforge.runtime.distances.fid import frechet_distance, gaussian_frechet_distance
from sonoforge.runtime.errors import SonoforgeError

FIDELITY = other_library("torch_fidelity.metric_fid")
TORCHMETRICS = other_library("torchmetrics.image.fid")


def test_fid_of_two_pairs_of_images_is_its_closed_form() -> None:
    """{a, -a} and {b, -b}: covariances 2aa' and 2bb', so 2|a|^2 + 2|b|^2 - 4|a.b|."""
    a, b = np.array([1.0, 2.0, 0.0]), np.array([0.5, -1.0, 3.0])
    expected = 2 * (a @ a) + 2 * (b @ b) - 4 * abs(a @ b)
    assert frechet_distance(np.stack([a, -a]), np.stack([b, -b]), "net").value == pytest.approx(expected)


def test_fid_of_a_set_with_itself_is_zero_and_it_is_symmetric() -> None:
    x, y = rows(20, 30, 0), 1 + rows(25, 30, 1)
    assert frechet_distance(x, x, "net").value == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, y, "net").value == pytest.approx(frechet_distance(y, x, "net").value)


def test_fid_of_few_images_is_biased_as_its_warning_says() -> None:
    few = [frechet_distance(rows(20, 8, seed), rows(20, 8, 100 + seed), "net").value for seed in range(20)]
    many = [frechet_distance(rows(200, 8, seed), rows(200, 8, 100 + seed), "net").value for seed in range(20)]
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
    fid = frechet_distance(x, y, "net")
    assert fid.value == pytest.approx(_by_matrix_root(x, y, 1e-9 * scale), rel=1e-4)
    assert (fid.features, fid.generated, fid.real) == ("net", n, m)


@pytest.mark.parametrize(("count", "width"), [(60, 160), (160, 60)])
def test_fid_agrees_with_torch_fidelity_and_torchmetrics_on_features_of_a_network(count: int, width: int) -> None:
    x, y = network_rows(count, width, 0, blur=3), network_rows(count, width, 200)
    found = frechet_distance(x, y, "net").value
    statistics = [FIDELITY.fid_features_to_statistics(torch.from_numpy(part)) for part in (x, y)]
    theirs = FIDELITY.fid_statistics_to_metric(*statistics, verbose=False)[FIDELITY.KEY_METRIC_FID]
    assert found == pytest.approx(theirs, rel=1e-3)
    tensors = [torch.from_numpy(part).double() for part in (x, y)]
    moments = [value for part in tensors for value in (part.mean(0), part.T.cov())]
    assert found == pytest.approx(float(TORCHMETRICS._compute_fid(*moments)), rel=1e-3)


def test_distance_of_two_known_gaussians_is_its_closed_form() -> None:
    # In one dimension (m1 - m2)^2 + (s1 - s2)^2.
    one = gaussian_frechet_distance(np.array([1.0]), np.array([[4.0]]), np.array([-2.0]), np.array([[0.25]]))
    assert one == pytest.approx(9 + 1.5**2, rel=1e-12)
    # Covariances with the same eigenvectors: the squared differences of the deviations along them.
    turn = np.linalg.qr(rows(6, 6, 0))[0]
    first, second = np.array([0.0, 0.1, 1.0, 2.0, 3.0, 9.0]), np.array([0.5, 0.0, 1.0, 4.0, 1.0, 2.0])
    covariances = [(turn * np.square(deviations)) @ turn.T for deviations in (first, second)]
    means = rows(2, 6, 1)
    expected = np.square(means[0] - means[1]).sum() + np.square(first - second).sum()
    found = gaussian_frechet_distance(means[0], covariances[0], means[1], covariances[1])
    assert found == pytest.approx(expected, rel=1e-6)


def test_distance_of_two_planar_gaussians_that_do_not_commute_is_its_closed_form() -> None:
    """In the plane Tr (S1 S2)^(1/2) = sqrt(Tr S1 S2 + 2 sqrt(det S1 det S2))."""
    first, second = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.8], [-0.8, 5.0]])
    root = np.sqrt(np.trace(first @ second) + 2 * np.sqrt(np.linalg.det(first) * np.linalg.det(second)))
    mean = np.zeros(2)
    found = gaussian_frechet_distance(mean, first, mean + 1, second)
    assert found == pytest.approx(2 + np.trace(first + second) - 2 * root, rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(9, 14), (40, 50), (9, 60)])
def test_distance_of_samples_is_that_of_the_gaussians_with_their_moments(n: int, m: int) -> None:
    x, y = rows(n, 20, 0), 0.5 + 2 * rows(m, 20, 1)
    expected = gaussian_frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    assert frechet_distance(x, y, "net").value == pytest.approx(expected, rel=1e-6)


def test_gaussians_that_are_none_are_refused() -> None:
    mean, good = np.zeros(2), np.eye(2)
    with pytest.raises(ValueError, match="expected \\(D,\\) twice and \\(D, D\\) twice"):
        gaussian_frechet_distance(mean, good, np.zeros(3), good)
    with pytest.raises(ValueError, match="not symmetric"):
        gaussian_frechet_distance(mean, np.array([[1.0, 1.0], [0.0, 1.0]]), mean, good)
    for bad in (-np.eye(2), np.diag([1.0, -0.1])):
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(ValueError, match="eigenvalue below 0"):
                gaussian_frechet_distance(mean, pair[0], mean, pair[1])
    with pytest.raises(SonoforgeError, match="not a finite number"):
        gaussian_frechet_distance(mean, good, mean, good * np.nan)


def test_sets_without_a_frechet_distance_are_refused() -> None:
    good = rows(5, 3, 0)
    with pytest.raises(SonoforgeError, match="found 1 generated images, expected at least 2"):
        frechet_distance(good[:1], good, "net")
    with pytest.raises(SonoforgeError, match="found 0 real images, expected at least 2"):
        frechet_distance(good, good[:0], "net")
    with pytest.raises(SonoforgeError, match="features of generated images that are not finite"):
        frechet_distance(np.where(good > good.max() - 1e-9, np.nan, good), good, "net")
    with pytest.raises(ValueError, match=r"found shapes \(5, 3\) and \(5, 2\)"):
        frechet_distance(good, good[:, :2], "net")
