"""Repeated halves: what is drawn, and whether interval, floor and ratio keep their promises in simulations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from feature_rows import Rows, rows
from sonoforge.runtime.distances.fid_kid import kernel_distance
from sonoforge.runtime.distances.halves import Measured, draw_halves, summarise

ALONE, PAIRS = np.arange(60), np.arange(60) // 2


@pytest.mark.parametrize(
    ("groups", "fakes", "size"),
    [
        (ALONE, 60, 30),
        (ALONE, 25, 12),
        (ALONE, 500, 30),
        (ALONE[:59], 500, 29),
        (PAIRS, 60, 30),
        (PAIRS[:58], 60, 28),  # 29 pairs: one is too much for either side
        (np.repeat([7, 3, 5], [20, 4, 6]), 100, 10),
        (np.array([5] * 50 + list(range(10, 20))), 100, 10),  # a group of five sixths of all images
        (np.array([5] * 9 + list(range(10, 61))), 60, 30),
    ],
)
def test_halves_are_disjoint_by_group_and_as_large_as_can_be(groups: NDArray[np.intp], fakes: int, size: int) -> None:
    for first, second, made in draw_halves(groups, fakes, repeats=20):
        assert len(first) == len(second) == len(made) == size
        assert not set(groups[first]) & set(groups[second])
        assert all(len(set(part.tolist())) == size for part in (first, second, made))
        assert 0 <= min(made) <= max(made) < fakes


def test_every_image_comes_equally_often_into_either_half() -> None:
    groups = np.concatenate([np.arange(40), [40, 40, 41, 41, 41]])
    counts = [Counter[int](), Counter[int](), Counter[int]()]
    for parts in draw_halves(groups, 44, repeats=2000, seed=1):
        for count, part in zip(counts, parts, strict=True):
            count.update(part.tolist())
    for count, images in zip(counts, (45, 45, 44), strict=True):
        shares = np.array([count[image] / 2000 for image in range(images)])
        assert shares == pytest.approx(np.full(images, 22 / images), abs=0.06)  # 5 standard errors


def test_summary_of_known_numbers() -> None:
    matched, floor = list(np.linspace(2, 4, 201)), list(np.linspace(0, 1, 201))
    found = summarise(2.5, matched, floor)
    assert found == pytest.approx(Measured(2.5, 3, 2.05, 3.95, 0.5, 0.025, 0.975, 3 / 0.975))
    better = summarise(0.2, [0.25, 0.25], [0.5, 0.5], more_is_better=True)
    assert better.ratio == pytest.approx(2)
    assert summarise(0.0, [0.1, 0.2], [-0.2, -0.1]).ratio is None
    assert summarise(0.0, [0.0, 0.0], [0.5, 0.5], more_is_better=True).ratio is None


def _kid(x: Rows, y: Rows) -> float:
    return kernel_distance(x, y).value


def _measured(generated: Rows, real: Rows, repeats: int = 40) -> Measured:
    matched, floor = [], []
    for first, second, made in draw_halves(np.arange(len(real)), len(generated), repeats):
        matched.append(_kid(generated[made], real[first]))
        floor.append(_kid(real[second], real[first]))
    return summarise(_kid(generated, real), matched, floor)


def test_spread_of_a_mean_difference_over_halves_is_its_standard_error() -> None:
    """Half of 2n values without replacement: variance s^2 / n (1 - 1/2), that is s^2 / 2n, exactly that of all 2n."""
    spreads, intervals_hold = [], 0
    for case in range(200):
        x, y = rows(40, 1, 2 * case)[:, 0], rows(40, 1, 2 * case + 1)[:, 0]
        matched = [x[made].mean() - y[first].mean() for first, _, made in draw_halves(np.arange(40), 40, 100, case)]
        found = summarise(x.mean() - y.mean(), matched, matched)
        spreads.append(np.var(matched, ddof=1))
        intervals_hold += found.matched_low <= 0 <= found.matched_high
    assert np.mean(spreads) == pytest.approx(2 / 40, rel=0.05)  # 1 / 40 of either mean
    # Of 200 at 95 %: 3 standard errors are 4.6 %; percentiles of 100 draws and 40 values make it a little narrow.
    assert 0.88 <= intervals_hold / 200 <= 0.99


def test_equal_distributions_have_a_kid_floor_at_zero_and_a_ratio_up_to_one_and_a_shift_has_not() -> None:
    same = [_measured(rows(40, 6, 2 * case), rows(40, 6, 2 * case + 1)) for case in range(30)]
    floors = np.array([found.floor for found in same])
    assert abs(floors.mean()) < 4 * floors.std(ddof=1) / np.sqrt(len(floors))
    assert all(found.floor_low < 0 < found.floor_high for found in same)
    within = [found.ratio is not None and found.ratio <= 1 for found in same]
    assert np.mean(within) >= 0.9
    shifted = [_measured(0.8 + rows(40, 6, 2 * case), rows(40, 6, 2 * case + 1)) for case in range(10)]
    assert all(found.ratio is not None and found.ratio > 1 for found in shifted)
