"""Kernel distance (KID): its formula, its error, its subsets, and other implementations of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from feature_rows import Rows, network_rows, other_library, rows
from sonoforge.runtime.distances import fid_kid as module
from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance, subset_kernel_distance
from sonoforge.runtime.seeds import derive_seed

FIDELITY = other_library("torch_fidelity.metric_kid")
TORCHMETRICS = other_library("torchmetrics.image.kid")


def _kid_by_hand(x: Rows, y: Rows) -> float:
    """Binkowski 2018, equation 4, as it is printed."""

    def kernel(a: Rows, b: Rows) -> float:
        return (sum(float(u * v) for u, v in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i, j in itertools.permutations(range(n), 2)) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i, j in itertools.permutations(range(m), 2)) / (m * (m - 1))
    between = sum(kernel(a, b) for a in x for b in y) / (n * m)
    return within_x + within_y - 2 * between


def test_kid_equals_the_double_loop_over_pairs() -> None:
    x, y = rows(9, 4, 0), 0.5 + 2 * rows(7, 4, 1)
    assert kernel_distance(x, y).value == pytest.approx(_kid_by_hand(x, y), rel=1e-12)


def test_kid_of_two_points_is_its_closed_form() -> None:
    """All vectors of a set equal: k(a, a) + k(b, b) - 2 k(a, b), and no uncertainty."""
    x, y = np.tile([1.0, 0.0, 1.0, 2.0], (5, 1)), np.tile([0.0, 1.0, 1.0, 0.0], (4, 1))
    kid = kernel_distance(x, y)
    assert kid.value == pytest.approx((6 / 4 + 1) ** 3 + (2 / 4 + 1) ** 3 - 2 * (1 / 4 + 1) ** 3)
    assert kid.standard_error == pytest.approx(0, abs=1e-7)


def test_kid_in_blocks_equals_kid_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows(23, 6, 0), rows(17, 6, 1)
    expected = kernel_distance(x, y)
    monkeypatch.setattr("sonoforge.runtime.distances.fid_kid._BLOCK", 5)
    assert kernel_distance(x, y).value == pytest.approx(expected.value, rel=1e-9)


def test_kid_of_equal_distributions_is_zero_on_average_and_its_error_honest() -> None:
    found = [kernel_distance(rows(12, 5, 2 * seed), rows(15, 5, 2 * seed + 1)) for seed in range(400)]
    values = np.array([kid.value for kid in found])
    spread = values.std(ddof=1)
    # With the pairs of an image with itself the mean would be about 1, many times this bound.
    assert abs(values.mean()) < 4 * spread / math.sqrt(len(values))
    # Efron, Stein 1981: the jackknife's variance is on average not too small.
    assert math.sqrt(np.mean([kid.standard_error**2 for kid in found])) > 0.9 * spread


def test_kid_error_is_the_spread_over_new_images_where_distributions_differ() -> None:
    found = [kernel_distance(1 + rows(40, 3, 2 * seed), rows(50, 3, 2 * seed + 1)) for seed in range(300)]
    spread = np.std([kid.value for kid in found], ddof=1)
    # Standard error of a standard deviation over 300 repeats: about 4 %, more with the tails of a cubic.
    assert math.sqrt(np.mean([kid.standard_error**2 for kid in found])) == pytest.approx(spread, rel=0.25)


def test_kid_error_is_the_jackknife_done_image_by_image() -> None:
    x, y = rows(8, 3, 0), 1 + rows(6, 3, 1)
    without_x = [_kid_by_hand(np.delete(x, i, 0), y) for i in range(8)]
    without_y = [_kid_by_hand(x, np.delete(y, j, 0)) for j in range(6)]
    expected = 7 * np.var(without_x) + 5 * np.var(without_y)
    assert kernel_distance(x, y).standard_error == pytest.approx(math.sqrt(expected), rel=1e-9)


def test_kid_over_subsets_gathers_around_the_whole_sets() -> None:
    x, y = 0.5 + rows(60, 4, 0), rows(50, 4, 1)
    whole = kernel_distance(x, y)
    subsets = subset_kernel_distance(x, y, subsets=400, subset_size=20, seed=3)
    assert abs(subsets.value - whole.value) < 4 * subsets.standard_error
    assert subsets == subset_kernel_distance(x, y, subsets=400, subset_size=20, seed=3)
    assert subsets.value != subset_kernel_distance(x, y, subsets=400, subset_size=20, seed=4).value


def test_subsets_of_the_size_of_both_sets_are_the_whole_sets() -> None:
    x, y = rows(20, 4, 0), 1 + rows(20, 4, 1)
    subsets = subset_kernel_distance(x, y, subsets=5, subset_size=20)
    assert subsets.value == pytest.approx(kernel_distance(x, y).value, rel=1e-9)
    assert subsets.standard_error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("most", [0, 10**9])
def test_both_ways_to_measure_subsets_equal_torch_fidelity_on_the_same_subsets(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    x, y = network_rows(70, 96, 0, blur=3).astype(np.float64), network_rows(60, 96, 100).astype(np.float64)
    monkeypatch.setattr(module, "_MOST_ENTRIES", most)
    found = subset_kernel_distance(x, y, subsets=30, subset_size=25, seed=5)
    expected = []
    for subset in range(30):
        rng = np.random.default_rng(derive_seed(5, "KID subset", subset))
        some_x, some_y = x[rng.choice(70, 25, replace=False)], y[rng.choice(60, 25, replace=False)]
        expected.append(FIDELITY.kernel_mmd(some_x, some_y))
    assert found.value == pytest.approx(np.mean(expected), rel=1e-9)
    assert found.standard_error == pytest.approx(np.std(expected, ddof=1) / math.sqrt(30), rel=1e-6)


def test_kid_agrees_with_torch_fidelity_and_torchmetrics_on_features_of_a_network() -> None:
    x, y = network_rows(80, 96, 0, blur=3), network_rows(80, 96, 100)
    found = kernel_distance(x, y).value
    first, second = torch.from_numpy(x), torch.from_numpy(y)
    settings = {"kid_subsets": 2, "kid_subset_size": 80, "verbose": False}
    theirs = FIDELITY.kid_features_to_metric(first, second, **settings)[FIDELITY.KEY_METRIC_KID_MEAN]
    assert found == pytest.approx(theirs, rel=1e-3)
    assert found == pytest.approx(float(TORCHMETRICS.poly_mmd(second.double(), first.double())), rel=1e-3)
    subsets = subset_kernel_distance(x, y, subsets=2, subset_size=80).value
    assert subsets == pytest.approx(theirs, rel=1e-3)


def test_kid_between_halves_of_one_set_is_zero_on_average_and_fid_is_not() -> None:
    """Any two different images are as likely to meet within a half as between the halves: exactly 0 is expected."""
    whole = network_rows(80, 96, 0)
    kids, fids = [], []
    for split in range(200):
        order = np.random.default_rng(split).permutation(80)
        a, b = whole[order[:40]], whole[order[40:]]
        kids.append(kernel_distance(a, b).value)
        fids.append(frechet_distance(a, b))
    error = np.std(kids, ddof=1) / math.sqrt(200)
    assert abs(np.mean(kids)) < 2 * error
    assert np.mean(fids) > 50 * np.std(fids, ddof=1) / math.sqrt(200)
    assert min(fids) > 0.5 * np.mean(fids)
    far = kernel_distance(network_rows(40, 96, 100, blur=7), whole)
    assert far.value > 5 * np.std(kids, ddof=1)  # and it does see what is different
