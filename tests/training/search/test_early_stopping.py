"""Which trainings are given up: medians and power laws worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sonoforge.training.search.early_stopping import Bars, EarlyStopping, bars, extrapolated
from sonoforge.training.trials.training import MEASUREMENTS, Reports

# KID after each quarter of the budget; the last two were given up after a quarter and a half.
PAST: list[Reports] = [
    ((1, 8.0), (2, 4.0), (3, 3.0), (4, 2.0)),
    ((1, 6.0), (2, 5.0), (3, 4.0), (4, 3.0)),
    ((1, 7.0), (2, 6.0), (3, 2.0), (4, 1.0)),
    ((1, 5.0), (2, 3.0), (3, 2.5), (4, 2.5)),
    ((1, 20.0),),
    ((1, 9.0), (2, 9.0)),
]


def test_bars_are_the_medians_of_all_that_came_so_far() -> None:
    assert bars(("halving", "trend"), PAST) == Bars({1: 7.5, 2: 5.0}, 2.25)
    assert bars(("halving",), PAST) == Bars({1: 7.5, 2: 5.0}, None)
    assert bars(("trend",), PAST) == Bars({}, 2.25)
    assert bars(("none",), PAST) == bars((), PAST) == Bars({}, None)
    assert bars(("halving", "trend"), PAST[:3]) == Bars({}, None), "of three there is no bar yet"


def test_halving_gives_the_worse_half_up_after_a_quarter_and_a_half() -> None:
    own = bars(("halving",), PAST)
    assert EarlyStopping(own)(1, 7.6) and not EarlyStopping(own)(1, 7.5)
    training = EarlyStopping(own)
    assert [training(number, value) for number, value in enumerate((7.0, 5.1), start=1)] == [False, True]
    training = EarlyStopping(own)
    assert [training(number, value) for number, value in enumerate((7.0, 5.0, 99.0, 99.0), start=1)] == [False] * 4


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0, 2.0])
def test_a_power_law_is_continued_exactly(power: float) -> None:
    values = {number: 3.0 * number**-power for number in range(1, MEASUREMENTS + 1)}
    for number in range(1, MEASUREMENTS):
        assert extrapolated(number, values[number], values[number + 1]) == pytest.approx(values[MEASUREMENTS])


def test_what_rises_or_is_negative_is_taken_as_it_is() -> None:
    assert extrapolated(1, 2.0, 3.0) == 3.0
    assert extrapolated(2, 0.1, -0.1) == -0.1
    assert extrapolated(2, -0.2, -0.1) == -0.1


def test_the_trend_gives_up_what_does_not_fall_fast_enough() -> None:
    own = Bars({}, 2.25)
    slow, fast = EarlyStopping(own), EarlyStopping(own)
    # From 4 to 3.5 at twice the budget, so 3.06 at four times; from 4 to 3 it is 2.25.
    assert [slow(1, 4.0), slow(2, 3.5)] == [False, True]
    assert [fast(1, 4.0), fast(2, float(np.nextafter(3.0, 0)))] == [False, False]
    assert not EarlyStopping(own)(2, 99.0), "without a measurement before it there is no trend"
