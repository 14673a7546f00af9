"""The order of the trials, and those that nobody beats, against their definitions by brute force."""

from __future__ import annotations

import numpy as np

from sonoforge.training.architecture_search.results import pareto_front
from sonoforge.training.architecture_search.study import (
    COMPLETE,
    DIVERGED,
    OUT_OF_TIME,
    PRUNED,
    WORST,
    Trial,
    best_of,
    ranked,
)


def trial(number: int, state: str, kid: float | None, measurements: int = 4, parameters: int = 0) -> Trial:
    reports = () if kid is None else ((measurements, kid),)
    return Trial("generator", number, {}, state, reports, {"kid": kid, "parameters": parameters})


def test_those_that_came_further_come_first_and_then_the_lowest() -> None:
    trials = [
        trial(0, COMPLETE, 3.0),
        trial(1, PRUNED, 0.1, measurements=1),
        trial(2, COMPLETE, 2.0),
        trial(3, DIVERGED, None),
        trial(4, PRUNED, 0.5, measurements=2),
        trial(5, "", None),
        trial(6, OUT_OF_TIME, 2.0, measurements=3),
    ]
    assert [own.number for own in ranked(trials)] == [2, 6, 0, 4, 1, 3]
    assert trials[3].rank == WORST and trials[5].rank is None
    assert best_of(trials) is trials[2] and best_of([trials[3], trials[5]]) is None


def test_the_front_is_that_of_a_search_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        figures = [
            (float(kid), int(cost)) for kid, cost in zip(rng.integers(0, 9, 12), rng.integers(0, 9, 12), strict=True)
        ]
        trials = [trial(number, COMPLETE, kid, parameters=cost) for number, (kid, cost) in enumerate(figures)]
        trials.append(trial(12, PRUNED, -1.0, measurements=1, parameters=0))
        wanted = {
            (kid, cost)
            for kid, cost in figures
            if not any((a, b) != (kid, cost) and a <= kid and b <= cost for a, b in figures)
        }
        front = pareto_front(trials, "kid", "parameters")
        assert {(own.details["kid"], own.details["parameters"]) for own in front} == wanted
        assert len(front) == len(wanted)
