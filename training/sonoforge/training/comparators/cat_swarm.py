"""Cat swarm optimisation: most cats look around where they are, a few chase the best place found.

Chu, Tsai & Pan, "Cat swarm optimization", PRICAI 2006.  Written here because the one maintained package (niapy, MIT)
needs pandas, openpyxl and Python 3.11, and changes all of a copy's dimensions by one sign.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Swarm(NamedTuple):
    """Settings; the defaults are those of Chu & Tsai's experiments, but for the numbers of cats and of rounds."""

    cats: int = 6
    rounds: int = 4
    memory: int = 5  # seeking memory pool: places that a seeking cat chooses from, its own among them
    dimensions: float = 0.8  # counts of dimensions to change: share that is changed in each copy
    range: float = 0.2  # seeking range of the selected dimension: share of its value that is added or taken away
    tracing: float = 0.02  # mixture ratio: share of the cats that trace, at least one
    pull: float = 2.0  # c1, the velocity's pull towards the best place


class Found(NamedTuple):
    """The best place (D,), its cost, and the best cost after each round, the start included."""

    place: Floats
    cost: float
    history: tuple[float, ...]


def minimise(
    cost: Callable[[Floats], float], low: Floats, high: Floats, swarm: Swarm, rng: np.random.Generator
) -> Found:
    """Search the box from ``low`` to ``high`` (D,) for the place (D,) of the least cost.

    Places are kept in the box; a velocity is at most the box's side.
    """
    places = rng.uniform(low, high, (swarm.cats, len(low)))
    velocities = rng.uniform(-1, 1, places.shape) * (high - low)
    costs = np.array([cost(place) for place in places])
    best, least = places[costs.argmin()].copy(), float(costs.min())
    history = [least]
    tracers = max(1, round(swarm.tracing * swarm.cats))
    for _ in range(swarm.rounds):
        tracing = np.zeros(swarm.cats, bool)
        tracing[rng.permutation(swarm.cats)[:tracers]] = True
        for cat in range(swarm.cats):
            if tracing[cat]:
                velocities[cat] = trace(velocities[cat], places[cat], best, swarm.pull, rng)
                velocities[cat] = np.clip(velocities[cat], low - high, high - low)
                places[cat] = np.clip(places[cat] + velocities[cat], low, high)
                costs[cat] = cost(places[cat])
            else:
                copies = np.clip(seek(places[cat], swarm, rng), low, high)
                own = np.array([costs[cat], *(cost(copy) for copy in copies[1:])])
                if own.min() < least:  # also where the cat moves elsewhere
                    best, least = copies[own.argmin()].copy(), float(own.min())
                chosen = rng.choice(len(copies), p=seeking_probabilities(own))
                places[cat], costs[cat] = copies[chosen], own[chosen]
            if costs[cat] < least:
                best, least = places[cat].copy(), float(costs[cat])
        history.append(least)
    return Found(best, least, tuple(history))


def seek(place: Floats, swarm: Swarm, rng: np.random.Generator) -> Floats:
    """Copies of a place (memory, D), the first unchanged; in the others some dimensions grow or shrink by the range."""
    copies = np.tile(place, (swarm.memory, 1))
    changed = max(1, round(swarm.dimensions * len(place)))
    for copy in copies[1:]:
        which = rng.permutation(len(place))[:changed]
        copy[which] *= 1 + swarm.range * rng.choice((-1.0, 1.0), changed)
    return copies


def seeking_probabilities(costs: Floats) -> Floats:
    """Probability (M,) of moving to each candidate, by its cost (M,): equation 1, normalised, for a minimum.

    The worst candidate has none; where all cost the same, each is as likely.
    """
    span = costs.max() - costs.min()
    weights = (costs.max() - costs) / span if span > 0 else np.ones(len(costs))
    share: Floats = weights / weights.sum()
    return share


def trace(velocity: Floats, place: Floats, best: Floats, pull: float, rng: np.random.Generator) -> Floats:
    """Return the velocity drawn to the best place (D,): equation 2."""
    drawn: Floats = velocity + rng.uniform(0, 1, len(place)) * pull * (best - place)
    return drawn
