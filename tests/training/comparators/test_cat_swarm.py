"""Cat swarm optimisation: its two modes by hand, and minima that are known."""

from __future__ import annotations

import numpy as np
import pytest

from sonoforge.training.comparators.fitting import Swarm, minimise, seek, seeking_probabilities, trace


def test_a_seeking_cat_prefers_cheap_places_as_equation_1_says() -> None:
    weights = np.array([(9 - 1) / 8, (9 - 5) / 8, (9 - 9) / 8])
    assert seeking_probabilities(np.array([1.0, 5.0, 9.0])) == pytest.approx(weights / weights.sum())
    assert seeking_probabilities(np.full(4, 2.0)).tolist() == [0.25] * 4


def test_copies_differ_in_the_counted_dimensions_by_the_range() -> None:
    place = np.arange(1.0, 11.0)
    copies = seek(place, Swarm(), np.random.default_rng(1))
    assert copies.shape == (5, 10) and (copies[0] == place).all()
    for copy in copies[1:]:
        ratio = copy / place
        assert sorted(np.round(ratio[ratio != 1], 12)) == sorted(np.round(1 + 0.2 * np.sign(ratio[ratio != 1] - 1), 12))
        assert (ratio != 1).sum() == 8
    assert {float(np.round(r, 12)) for r in (copies / place).ravel()} == {0.8, 1.0, 1.2}  # both signs, in each copy


def test_a_tracing_cat_is_drawn_to_the_best_place() -> None:
    velocity, place, best = np.array([0.5, -1.0]), np.array([1.0, 1.0]), np.array([3.0, 1.0])
    drawn = trace(velocity, place, best, 2.0, np.random.default_rng(0))
    factor = (drawn[0] - velocity[0]) / (2.0 * (best[0] - place[0]))
    assert 0 <= factor <= 1 and drawn[1] == velocity[1]


def test_it_finds_the_minimum_of_a_bowl_better_than_as_many_random_places() -> None:
    low, high = np.full(3, -4.0), np.full(3, 6.0)
    asked: list[np.ndarray] = []

    def bowl(place: np.ndarray) -> float:
        asked.append(place.copy())
        return float(((place - 1) ** 2).sum())

    best, cost = minimise(bowl, low, high, Swarm(cats=12, rounds=40), np.random.default_rng(0))
    calls, places = len(asked), np.array(asked)
    assert (places >= low).all() and (places <= high).all()
    assert cost == bowl(best) == ((places - 1) ** 2).sum(axis=1).min()
    drawn = np.random.default_rng(1).uniform(low, high, (calls, 3))
    assert cost < ((drawn - 1) ** 2).sum(axis=1).min()
    again, _ = minimise(bowl, low, high, Swarm(cats=12, rounds=40), np.random.default_rng(0))
    assert (again == best).all()
