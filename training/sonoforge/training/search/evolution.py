"""Which code a search tries next, as a pure function of what it has tried.

Ageing: Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019,
algorithm 1: the best of a sample of the population is mutated, and the oldest member leaves.  Cycles: the other of the
two accounts that Berezsky and Liashchynskyi 2024 give of their search: each cycle has a new population of random codes,
whose weights are those of the best so far.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sonoforge.models.ga_gan.codes import Code
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.search.variation import Space, mutate, random_code

STRATEGIES = ("aging", "cycles")
PATIENCE = 100  # draws of a code that is new; then the search walks on from the last of them

Fitness = tuple[int, float]
"""Measurements that a training had, with a minus, and the metric at its last: the lowest is the best."""
WORST: Fitness = (1, math.inf)  # of a training that diverged


class Member(NamedTuple):
    """A code that a search has tried, or is trying."""

    number: int  # from 0, in the order of birth
    code: Code
    parent: int | None = None  # whose code was mutated; None: drawn at random
    heir_of: int | None = None  # whose trained weights it starts with; None: fresh ones


class Tried(NamedTuple):
    """A member whose fitness may be known."""

    member: Member
    fitness: Fitness | None  # None: not known yet


@dataclasses.dataclass(frozen=True)
class Evolution:
    """How one of the two networks is searched."""

    strategy: str  # of `STRATEGIES`
    population: int
    children: int  # born after the first population; of cycles, that many further populations are rounded down to
    sample: int  # members that compete to be a parent, drawn with replacement as in the paper
    mutation: float  # probability with which each element of a code changes
    heirs: bool  # whether a member starts with trained weights where these fit
    seed: int

    @property
    def total(self) -> int:
        """Codes that are tried in all."""
        if self.strategy == "aging":
            return self.population + self.children
        return self.population * (1 + self.children // self.population)


def next_member(evolution: Evolution, space: Space, tried: Sequence[Tried]) -> Member | None:
    """Choose the code to try next.

    The same arguments give the same answer, so a search that is resumed goes on as it would have.

    Args:
        evolution: How to search.
        space: Of codes.
        tried: All members so far, by number; no code is tried twice.

    Returns:
        None if it depends on a fitness that is not known yet, which only that of cycles does.
    """
    number = len(tried)
    rng = np.random.default_rng(derive_seed(evolution.seed, f"member of the {space.network}s", number))
    known = [other for other in tried if other.fitness is not None]
    if evolution.strategy == "cycles":
        cycle = number // evolution.population
        if len(known) < cycle * evolution.population:
            return None
        best = fittest(known[: cycle * evolution.population]) if cycle and evolution.heirs else None
        return Member(number, _new_code(space, tried, rng), None, best.member.number if best else None)
    if number < evolution.population or not known:
        return Member(number, _new_code(space, tried, rng))
    alive = known[-evolution.population :]
    drawn = rng.integers(len(alive), size=evolution.sample)
    parent = min((alive[place] for place in drawn), key=_order)
    code = _new_mutant(parent.member.code, space, evolution.mutation, tried, rng)
    own = parent.member.number
    return Member(number, code, own, own if evolution.heirs and parent.fitness != WORST else None)


def fittest(tried: Sequence[Tried]) -> Tried | None:
    """Return the best of known fitness, the earlier one of two equal ones; None where none is known."""
    return min((other for other in tried if other.fitness is not None), key=_order, default=None)


def _order(known: Tried) -> tuple[Fitness, int]:
    return known.fitness or WORST, known.member.number


def _new_code(space: Space, tried: Sequence[Tried], rng: np.random.Generator) -> Code:
    seen = {other.member.code for other in tried}
    code = random_code(space, rng)
    while code in seen:
        code = random_code(space, rng)
    return code


def _new_mutant(code: Code, space: Space, rate: float, tried: Sequence[Tried], rng: np.random.Generator) -> Code:
    seen = {other.member.code for other in tried}
    start, draws = code, 0
    mutant = mutate(start, space, rate, rng)
    while mutant in seen:
        draws += 1
        if draws % PATIENCE == 0:  # all codes nearby were tried
            start = mutant
        mutant = mutate(start, space, rate, rng)
    return mutant
