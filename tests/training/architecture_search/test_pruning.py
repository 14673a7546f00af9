"""Which trainings are given up: medians and power laws worked out by hand, and Optuna's own pruner."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from sonoforge.training.architecture_search.study import MEASUREMENTS, Past, Reports, extrapolated, gives_up

# KID after each quarter of the budget; the last two were given up after a quarter and a half.
PAST = [
    Past(True, ((1, 8.0), (2, 4.0), (3, 3.0), (4, 2.0))),
    Past(True, ((1, 6.0), (2, 5.0), (3, 4.0), (4, 3.0))),
    Past(True, ((1, 7.0), (2, 6.0), (3, 2.0), (4, 1.0))),
    Past(True, ((1, 5.0), (2, 3.0), (3, 2.5), (4, 2.5))),
    Past(False, ((1, 20.0),)),
    Past(False, ((1, 9.0), (2, 9.0))),
]


def judged(rules: tuple[str, ...], *values: float, past: list[Past] = PAST) -> list[bool]:
    """Whether a training is given up after each of its measurements."""
    reports = tuple(enumerate(values, start=1))
    return [gives_up(rules, past, reports[:number]) for number in range(1, len(reports) + 1)]


def test_halving_gives_the_worse_half_up_after_a_quarter_and_a_half() -> None:
    """The medians of all that came so far are 7.5 and 5."""
    assert judged(("halving",), 7.6) == [True] and judged(("halving",), 7.5) == [False]
    assert judged(("halving",), 7.0, 5.1) == [False, True]
    assert judged(("halving",), 7.0, 5.0, 99.0, 99.0) == [False] * 4
    assert judged(("halving",), 99.0, 99.0, past=PAST[:3]) == [False] * 2, "of three there is no median yet"
    assert judged(("none",), 99.0, 99.0) == [False] * 2


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
    """From 4 to 3.5 at twice the budget, so 3.06 at four times; from 4 to 3 it is 2.25, the median of the ends."""
    assert judged(("trend",), 4.0, 3.5) == [False, True]
    assert judged(("trend",), 4.0, float(np.nextafter(3.0, 0))) == [False, False]
    assert not gives_up(("trend",), PAST, ((2, 99.0),)), "without a measurement before it there is no trend"
    assert judged(("halving", "trend"), 7.0, 5.0) == [False, True], "one of two rules is enough"


@pytest.mark.parametrize("seed", range(5))
def test_the_median_decides_as_optunas_own_pruner(seed: int) -> None:
    """Forty trainings that fall at random, judged by both, measurement by measurement."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2))
    rng, past, given_up = np.random.default_rng(seed), [], 0
    for _ in range(40):
        values = rng.uniform(0, 1) + rng.normal(0, 0.1, MEASUREMENTS) + 1 / np.arange(1, MEASUREMENTS + 1)
        trial, reports, over = study.ask(), (), False
        for number, value in enumerate(values.tolist(), start=1):
            trial.report(value, number)
            reports: Reports = (*reports, (number, value))
            over = trial.should_prune()
            assert gives_up(("median",), past, reports) == over
            if over:
                break
        study.tell(trial, None if over else reports[-1][1], state=optuna.trial.TrialState(2 if over else 1))
        past.append(Past(not over, reports))
        given_up += over
    assert 4 <= given_up <= 36
