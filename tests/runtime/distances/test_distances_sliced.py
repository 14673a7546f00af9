"""Sliced Wasserstein distance: scipy one direction at a time, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from feature_rows import network_rows, rows
from sonoforge.runtime.distances import sliced as module
from sonoforge.runtime.distances.sliced import sliced_wasserstein, unit_directions, wasserstein_1
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.gan.ticks import DIRECTIONS, sliced_distance


@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 21), (12, 30), (31, 1), (1, 7)])
def test_distance_in_one_dimension_is_scipys(n: int, m: int) -> None:
    first, second = rows(4, n, 0), 0.5 + 2 * rows(4, m, 1)
    expected = [wasserstein_distance(a, b) for a, b in zip(first, second, strict=True)]
    assert wasserstein_1(first, second) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(40, 40), (40, 33)])
@pytest.mark.parametrize("block", [100, 8_000_000])
def test_distance_is_scipys_mean_over_the_directions(
    monkeypatch: pytest.MonkeyPatch, n: int, m: int, block: int
) -> None:
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", block)
    x, y = network_rows(n, 24, 0, blur=3), network_rows(m, 24, 100)
    rng = np.random.default_rng(derive_seed(4, "sliced Wasserstein directions"))
    directions = unit_directions(30, 24, rng)
    expected = [wasserstein_distance(x @ direction, y @ direction) for direction in directions]
    assert sliced_wasserstein(x, y, projections=30, seed=4) == pytest.approx(np.mean(expected), rel=1e-6)


def test_directions_are_uniform_on_the_sphere() -> None:
    directions = unit_directions(4000, 3, np.random.default_rng(0))
    assert np.allclose(np.linalg.norm(directions, axis=1), 1)
    # Archimedes: on the sphere each coordinate is uniform on [-1, 1].
    for coordinate in directions.T:
        assert np.quantile(coordinate, (0.1, 0.25, 0.5, 0.75, 0.9)) == pytest.approx(
            (-0.8, -0.5, 0, 0.5, 0.8), abs=0.06
        )


def test_a_shift_moves_every_projection_by_its_own_share() -> None:
    x, shift = rows(25, 7, 0), rows(1, 7, 1)[0]
    rng = np.random.default_rng(derive_seed(0, "sliced Wasserstein directions"))
    expected = np.abs(unit_directions(512, 7, rng) @ shift).mean()
    assert sliced_wasserstein(x + shift, x) == pytest.approx(expected, rel=1e-9)
    # In three dimensions |v.u| is uniform on [0, |v|].
    assert sliced_wasserstein(x[:, :3] + [0, 0, 2.0], x[:, :3], projections=20_000) == pytest.approx(1, rel=0.02)


def test_scaled_normal_sets_are_apart_by_the_difference_of_their_deviations() -> None:
    """W1 of N(0, s) and N(0, t) in one dimension is |s - t| sqrt(2 / pi)."""
    x, y = rows(4000, 4, 0), 3 * rows(4000, 4, 1)
    assert sliced_wasserstein(x, y, projections=100) == pytest.approx(2 * math.sqrt(2 / math.pi), rel=0.05)


def test_it_is_zero_for_a_set_with_itself_symmetric_and_repeatable() -> None:
    x, y = rows(30, 5, 0), 1 + rows(20, 5, 1)
    assert sliced_wasserstein(x, x[::-1]) == 0
    # Every image twice is the same distribution.
    assert sliced_wasserstein(np.concatenate([x, x]), x) == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(x, y) == pytest.approx(sliced_wasserstein(y, x), rel=1e-12)
    assert sliced_wasserstein(x, y, seed=1) == sliced_wasserstein(x, y, seed=1) != sliced_wasserstein(x, y, seed=2)


def test_training_measures_the_very_same_distance() -> None:
    x, y = network_rows(20, 24, 0), network_rows(30, 24, 100)
    found = sliced_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert found == sliced_wasserstein(x, y, projections=DIRECTIONS, seed=0)
    broken = torch.from_numpy(x).clone()
    broken[2, 3] = math.inf
    assert math.isnan(sliced_distance(broken, torch.from_numpy(y)))  # a training in trouble is not stopped by it
