"""FID, KID, precision, recall, density and coverage: closed forms, plain loops, other implementations, refusals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg

from feature_rows import Rows, network_rows, other_library, rows
from sonoforge.runtime.distances import neighbours as neighbours_module
from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance, subset_kernel_distance
from sonoforge.runtime.distances.halves import draw_halves, summarise
from sonoforge.runtime.distances.neighbours import density_coverage, precision_recall
from sonoforge.runtime.distances.sliced import laplacian_swd, sliced_wasserstein
from sonoforge.runtime.distances.spectrum import ring_levels
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed

# ---- frechet distance (FID): closed forms, scipy's matrix root, and other implementations of it.

FIDELITY = other_library("torch_fidelity.metric_fid")
TORCHMETRICS = other_library("torchmetrics.image.fid")


def test_fid_of_a_set_with_itself_is_zero_and_it_is_symmetric() -> None:
    x, y = rows(20, 30, 0), 1 + rows(25, 30, 1)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x))


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


# ---- kernel distance (KID): its formula, its error, its subsets, and other implementations of it.

KID_FIDELITY = other_library("torch_fidelity.metric_kid")
KID_TORCHMETRICS = other_library("torchmetrics.image.kid")


def _kid_by_hand(x: Rows, y: Rows) -> float:
    """Binkowski 2018, equation 4, as it is printed."""

    def kernel(a: Rows, b: Rows) -> float:
        return (sum(float(u * v) for u, v in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i, j in itertools.permutations(range(n), 2)) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i, j in itertools.permutations(range(m), 2)) / (m * (m - 1))
    between = sum(kernel(a, b) for a in x for b in y) / (n * m)
    return within_x + within_y - 2 * between


@pytest.mark.parametrize("block", [5, None])
def test_kid_is_the_double_loop_over_pairs_and_its_error_the_jackknife(
    block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block:
        monkeypatch.setattr("sonoforge.runtime.distances.fid_kid._BLOCK", block)
    x, y = rows(9, 4, 0), 0.5 + 2 * rows(7, 4, 1)
    without_x = [_kid_by_hand(np.delete(x, i, 0), y) for i in range(9)]
    without_y = [_kid_by_hand(x, np.delete(y, j, 0)) for j in range(7)]
    expected = 8 * np.var(without_x) + 6 * np.var(without_y)
    found = kernel_distance(x, y)
    assert found.value == pytest.approx(_kid_by_hand(x, y), rel=1e-12)
    assert found.standard_error == pytest.approx(math.sqrt(expected), rel=1e-9)


def test_kid_of_two_points_is_its_closed_form() -> None:
    """All vectors of a set equal: k(a, a) + k(b, b) - 2 k(a, b), and no uncertainty."""
    x, y = np.tile([1.0, 0.0, 1.0, 2.0], (5, 1)), np.tile([0.0, 1.0, 1.0, 0.0], (4, 1))
    kid = kernel_distance(x, y)
    assert kid.value == pytest.approx((6 / 4 + 1) ** 3 + (2 / 4 + 1) ** 3 - 2 * (1 / 4 + 1) ** 3)
    assert kid.standard_error == pytest.approx(0, abs=1e-7)


def test_kid_of_equal_distributions_is_zero_on_average_and_its_error_honest() -> None:
    found = [kernel_distance(rows(12, 5, 2 * seed), rows(15, 5, 2 * seed + 1)) for seed in range(400)]
    values = np.array([kid.value for kid in found])
    spread = values.std(ddof=1)
    # With the pairs of an image with itself the mean would be about 1, many times this bound.
    assert abs(values.mean()) < 4 * spread / math.sqrt(len(values))
    # Efron, Stein 1981: the jackknife's variance is on average not too small.
    assert math.sqrt(np.mean([kid.standard_error**2 for kid in found])) > 0.9 * spread


def test_subsets_equal_torch_fidelity_on_the_same_subsets() -> None:
    x, y = network_rows(70, 96, 0, blur=3).astype(np.float64), network_rows(60, 96, 100).astype(np.float64)
    found = subset_kernel_distance(x, y, subsets=30, subset_size=25, seed=5)
    expected = []
    for subset in range(30):
        rng = np.random.default_rng(derive_seed(5, "KID subset", subset))
        some_x, some_y = x[rng.choice(70, 25, replace=False)], y[rng.choice(60, 25, replace=False)]
        expected.append(KID_FIDELITY.kernel_mmd(some_x, some_y))
    assert found.value == pytest.approx(np.mean(expected), rel=1e-9)
    assert found.standard_error == pytest.approx(np.std(expected, ddof=1) / math.sqrt(30), rel=1e-6)


def test_kid_agrees_with_torch_fidelity_and_torchmetrics_on_features_of_a_network() -> None:
    x, y = network_rows(80, 96, 0, blur=3), network_rows(80, 96, 100)
    found, subsets = kernel_distance(x, y).value, subset_kernel_distance(x, y, subsets=2, subset_size=80)
    first, second = torch.from_numpy(x), torch.from_numpy(y)
    settings = {"kid_subsets": 2, "kid_subset_size": 80, "verbose": False}
    theirs = KID_FIDELITY.kid_features_to_metric(first, second, **settings)[KID_FIDELITY.KEY_METRIC_KID_MEAN]
    assert found == pytest.approx(theirs, rel=1e-3)
    assert found == pytest.approx(float(KID_TORCHMETRICS.poly_mmd(second.double(), first.double())), rel=1e-3)
    assert subsets.value == pytest.approx(found, rel=1e-6)  # of the size of both sets
    assert subsets.standard_error == pytest.approx(0, abs=1e-6)


# ---- nearest neighbours, precision and recall, density and coverage: loops, closed forms, torch-fidelity.

PRC_FIDELITY = other_library("torch_fidelity.metric_prc")


def _radius(rows_: Rows, index: int, k: int) -> float:
    """Distance to the k-th neighbour, by a sort of all the others."""
    return sorted(float(np.linalg.norm(rows_[index] - other)) for other in np.delete(rows_, index, 0))[k - 1]


def _share_near(points: Rows, centres: Rows, k: int) -> float:
    """Kynkaanniemi 2019, equation 1, as it is printed."""
    radii = [_radius(centres, index, k) for index in range(len(centres))]
    near = [
        any(np.linalg.norm(point - centre) <= radius for centre, radius in zip(centres, radii, strict=True))
        for point in points
    ]
    return float(np.mean(near))


def _density_coverage_by_hand(generated: Rows, real: Rows, k: int) -> tuple[float, float]:
    """Naeem 2020, section 3, as printed."""
    inside = np.zeros((len(generated), len(real)))
    for i in range(len(real)):
        radius = _radius(real, i, k)
        for j in range(len(generated)):
            inside[j, i] = np.linalg.norm(generated[j] - real[i]) <= radius
    return float(inside.sum() / (k * len(generated))), float(np.mean(inside.any(0)))


@pytest.mark.parametrize(("n", "m", "k"), [(30, 30, 3), (23, 41, 1), (40, 12, 5)])
@pytest.mark.parametrize("block", [7, 4_000_000])
def test_all_four_equal_their_loops(monkeypatch: pytest.MonkeyPatch, n: int, m: int, k: int, block: int) -> None:
    monkeypatch.setattr(neighbours_module, "_BLOCK_ENTRIES", block)
    x, y = 0.4 + 0.8 * rows(n, 3, 0), rows(m, 3, 1)
    assert precision_recall(x, y, k) == pytest.approx((_share_near(x, y, k), _share_near(y, x, k)))
    assert density_coverage(x, y, k) == pytest.approx(_density_coverage_by_hand(x, y, k))


@pytest.mark.parametrize(("n", "m"), [(90, 90), (60, 95)])
def test_precision_and_recall_agree_with_torch_fidelity_on_features_of_a_network(n: int, m: int) -> None:
    x, y = network_rows(n, 64, 0, blur=3), network_rows(m, 64, 100)
    settings = {"prc_neighborhood": 3, "prc_batch_size": 10000, "save_cpu_ram": False, "verbose": False}
    theirs = PRC_FIDELITY.prc_features_to_metric(torch.from_numpy(x).double(), torch.from_numpy(y).double(), **settings)
    assert 0 < theirs["precision"] < 1
    assert 0 < theirs["recall"] < 1
    found = precision_recall(x, y)
    assert found == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-3)


@pytest.mark.parametrize(("n", "m"), [(20, 20), (12, 30), (30, 12)])
def test_equal_distributions_give_the_expectations_of_the_paper(n: int, m: int) -> None:
    k, repeats = 4, 400
    found = np.array([density_coverage(rows(n, 5, 2 * i), rows(m, 5, 2 * i + 1), k) for i in range(repeats)])
    errors = found.std(0, ddof=1) / np.sqrt(repeats)
    # Naeem 2020, section 3: none of the n generated images is among the nearest k of a real one's neighbours.
    missed = np.prod([(m - i) / (m + n - i) for i in range(1, k + 1)])
    assert abs(found[:, 0].mean() - 1) < 4 * errors[0]
    assert abs(found[:, 1].mean() - (1 - missed)) < 4 * errors[1]


def test_a_set_lies_within_itself_and_not_within_a_far_one() -> None:
    x = network_rows(50, 64, 0)
    assert precision_recall(x, x) == (1, 1)
    density, coverage = density_coverage(x, x)
    # Each image is in its own ball and, rim included, in those of which it is one of the 5 neighbours.
    assert density == pytest.approx(6 / 5)
    assert coverage == 1
    assert precision_recall(x, x + 1000) == (0, 0)
    assert density_coverage(x, x + 1000) == (0, 0)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_equal_images_have_a_ball_of_no_size_that_holds_their_copies(offset: float) -> None:
    real = offset + np.concatenate([np.tile(rows(1, 8, 0), (6, 1)), 50 + rows(10, 8, 1)])
    found = density_coverage(np.tile(real[:1], (6, 1)), real, 5)
    assert found == pytest.approx((6 / 5, 6 / 16))


# ---- sets between which a distance is not defined are refused in one line that names what is wrong.

GOOD = rows(8, 3, 0)
SCANS = np.zeros((2, 32, 32, 1), np.uint8)


def halves(groups: Any, fakes: int) -> list[Any]:
    return list(draw_halves(groups, fakes, 1))


FEATURES: list[tuple[Callable[..., object], int]] = [  # with the fewest images they take
    (frechet_distance, 2),
    (kernel_distance, 3),
    (sliced_wasserstein, 1),
    (precision_recall, 4),
    (density_coverage, 6),
]


@pytest.mark.parametrize(("metric", "fewest"), FEATURES)
def test_features_of_too_few_images_or_without_numbers(metric: Callable[..., object], fewest: int) -> None:
    metric(GOOD[:fewest], GOOD)
    with pytest.raises(SonoforgeError, match=rf": .*{fewest - 1} "):
        metric(GOOD[: fewest - 1], GOOD)
    with pytest.raises(SonoforgeError, match=r"real images.* 0|0 real images"):
        metric(GOOD, GOOD[:0])
    for name, pair in (("generated", (GOOD * np.nan, GOOD)), ("real", (GOOD, np.where(GOOD > 0, np.inf, GOOD)))):
        with pytest.raises(SonoforgeError, match=rf"features of {name} images are not finite"):
            metric(*pair)
    with pytest.raises(ValueError, match=r"\(8, 3\) and \(8, 2\)"):
        metric(GOOD, GOOD[:, :2])


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (partial(precision_recall, GOOD, GOOD, 0), ValueError, "0 neighbours"),
        (partial(density_coverage, GOOD, GOOD, 8), SonoforgeError, "8 neighbours"),
        (partial(sliced_wasserstein, GOOD, GOOD, projections=0), ValueError, "0 projections"),
        (partial(subset_kernel_distance, GOOD, GOOD[:6], 10, 7), SonoforgeError, "10 subsets of 7 .* 2 to 6"),
        (partial(subset_kernel_distance, GOOD, GOOD, 1, 5), SonoforgeError, "1 subsets of 5"),
        (partial(halves, np.arange(3), 60), SonoforgeError, "3 real images in 3 groups and 60 generated"),
        (partial(halves, np.arange(60), 3), SonoforgeError, "60 real images in 60 groups and 3 generated"),
        (partial(halves, np.zeros(60, int), 60), SonoforgeError, "60 real images in 1 groups"),
        (partial(halves, np.arange(0), 9), SonoforgeError, "0 real images in 0 groups"),
        (partial(summarise, 0.0, [0.1, 0.2], [0.1]), ValueError, "2 matched values for 1 floors"),
        (partial(summarise, 0.0, [], []), ValueError, "0 matched values"),
        (partial(laplacian_swd, SCANS[:, :15, :15], SCANS[:, :15, :15]), SonoforgeError, "side 15"),
        (partial(laplacian_swd, SCANS[:0], SCANS), SonoforgeError, "no generated images"),
        (partial(laplacian_swd, SCANS, SCANS[:, :, :31]), ValueError, r"real .* uint8 \(2, 32, 31, 1\)"),
        (partial(laplacian_swd, SCANS.astype(float), SCANS), ValueError, "generated images are float64"),
        (partial(laplacian_swd, SCANS, np.repeat(SCANS, 3, axis=3)), ValueError, "channels"),
        (partial(ring_levels, SCANS[:0]), SonoforgeError, "0 images"),
        (partial(ring_levels, SCANS[:, :8, :8]), SonoforgeError, "side 8"),
        (partial(ring_levels, SCANS[:, :16]), ValueError, "uint8"),
    ],
)
def test_other_sets_and_settings(use: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        use()
