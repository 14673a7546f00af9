"""The linear probe: its closed form, chance where there is nothing to find, no help from near-duplicates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.linear_probe import auc_interval, linear_probe
from sonoforge.training.statistics.results import Interval

Rows = NDArray[np.float64]


def _rows(count: int, width: int, seed: int) -> Rows:
    return np.random.default_rng(seed).standard_normal((count, width))


def _probe(generated: Rows, real: Rows, seed: int = 0) -> Interval:
    return linear_probe(generated, real, np.arange(len(real)), seed=seed)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0])
def test_a_shift_in_one_dimension_gives_its_closed_form(shift: float) -> None:
    """Two normal distributions at a distance d: AUC = Phi(d / sqrt(2))."""
    found = _probe(shift + _rows(3000, 1, 0), _rows(3000, 1, 1))
    assert found["value"] == pytest.approx(stats.norm.cdf(shift / math.sqrt(2)), abs=0.03 if shift == 0 else 0.012)


@pytest.mark.parametrize(("count", "width"), [(40, 300), (100, 20)])
def test_equal_distributions_are_told_apart_by_chance_only(count: int, width: int) -> None:
    found = [_probe(_rows(count, width, 2 * seed), _rows(count, width, 2 * seed + 1), seed) for seed in range(20)]
    assert np.mean([probe["value"] for probe in found]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([probe["low"] <= 0.5 <= probe["high"] for probe in found]) >= 0.9


def test_sets_that_one_plane_separates_have_an_auc_of_one() -> None:
    generated = _rows(30, 200, 0)
    generated[:, :40] += 3
    found = _probe(generated, _rows(50, 200, 1))
    assert (found["value"], found["high"]) == (1.0, 1.0)
    assert 0.8 < found["low"] < 1.0


def test_repeated_real_images_do_not_help_where_their_groups_are_known() -> None:
    """Fifty different images six times each: by heart where one copy is in training and another held out."""
    known, unknown = [], []
    for seed in range(4):
        real = np.repeat(_rows(50, 400, 10 + seed), 6, axis=0)
        generated = _rows(300, 400, 20 + seed)
        groups = np.repeat(np.arange(50), 6)
        known.append(linear_probe(generated, real, groups, seed=seed))
        unknown.append(_probe(generated, real, seed))
    assert np.mean([probe["value"] for probe in known]) == pytest.approx(0.5, abs=0.06)
    assert all(probe["low"] <= 0.5 <= probe["high"] for probe in known)
    assert min(probe["value"] for probe in unknown) > 0.8
    # Fewer independent images, wider interval.
    assert known[0]["high"] - known[0]["low"] > 1.5 * (unknown[0]["high"] - unknown[0]["low"])


def test_real_against_real_takes_groups_on_both_sides() -> None:
    rows = np.repeat(_rows(80, 300, 5), 3, axis=0)
    groups = np.repeat(np.arange(80), 3)
    found = linear_probe(rows[:120], rows[120:], groups[120:], groups[:120])
    assert found["low"] <= 0.5 <= found["high"]
    without = linear_probe(rows[:120], rows[120:], groups[120:])
    assert without["value"] > found["value"] + 0.1
    with pytest.raises(ValueError, match="on both sides"):
        linear_probe(rows[:122], rows[120:], groups[120:], groups[:122])


def test_interval_near_one_half_is_that_of_mann_and_whitney() -> None:
    """Variance of U under the null hypothesis, (m + n + 1) / (12 m n), for large numbers."""
    low, high = auc_interval(0.5, 4000, 6000)
    half = 1.96 * math.sqrt(10_001 / (12 * 4000 * 6000))
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=2e-4)
    wide = auc_interval(0.5, 4000, 6000, inflation=4.0)
    assert wide == pytest.approx((0.5 - 2 * half, 0.5 + 2 * half), abs=4e-4)


def test_interval_at_the_ends_stays_open_to_one_side() -> None:
    assert auc_interval(1.0, 10, 12)[1] == 1.0
    assert 0.7 < auc_interval(1.0, 10, 12)[0] < auc_interval(1.0, 100, 120)[0] < 1.0
    mirrored = auc_interval(0.0, 10, 12)
    assert mirrored == pytest.approx((0.0, 1 - auc_interval(1.0, 10, 12)[0]))


def test_what_cannot_be_probed_is_refused() -> None:
    with pytest.raises(SonoforgeError, match="4 generated and 20 real near-duplicate groups"):
        _probe(_rows(4, 3, 0), _rows(20, 3, 1))
    with pytest.raises(SonoforgeError, match="20 generated and 2 real"):
        linear_probe(_rows(20, 3, 0), _rows(20, 3, 1), np.arange(20) % 2)
    with pytest.raises(SonoforgeError, match="not finite"):
        _probe(np.full((20, 3), np.nan), _rows(20, 3, 1))
