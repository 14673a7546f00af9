"""Evolution of a network's cells, as a strategy of a study: the next code is a function of the trials before.

Ageing: Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019,
algorithm 1: the best of a sample of the population is mutated, and the oldest member leaves.  Cycles: the other of two
accounts that Berezsky and Liashchynskyi 2024 give of their search: each cycle has a new population of random codes,
with the weights of the best so far.

A trial tries a ``code``; ``parent`` is the trial whose code was mutated (None: drawn at random), ``heir_of`` the one
whose trained weights it starts with (None: fresh ones).

An element of a code is its number of nodes, the operation of one edge, or whether self-attention follows one cell.  A
new node comes last, with an edge from each other one; a node less is the last one less.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import optuna

from sonoforge.models.ga_gan import NODES, OPERATIONS, Code, attention_cells, parse
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.architecture_search.study import WORST, Trial, Values, best_of, ranked

PATIENCE = 100  # draws of a new code; then the search walks on from the last of them
LOOKAHEAD = 8  # a deterministic search chooses by the trials that began at least so many before


@dataclasses.dataclass(frozen=True)
class Evolution:
    """How one of the two networks is searched."""

    space: Space
    strategy: str  # `aging` or `cycles`
    population: int
    children: int  # born after the first population; of cycles rounded down to whole populations
    sample: int  # members that compete to be a parent, drawn with replacement as in the paper
    mutation: float  # probability with which each element of a code changes
    heirs: bool  # whether a member starts with trained weights where these fit
    seed: int
    deterministic: bool = False  # whether the result must not depend on timing

    @property
    def name(self) -> str:
        """The study's name: the network."""
        return self.space.network

    @property
    def total(self) -> int:
        """Number of codes to try."""
        if self.strategy == "aging":
            return self.population + self.children
        return self.population * (1 + self.children // self.population)

    def horizon(self, number: int) -> int | None:
        """See `study.Strategy`."""
        if self.strategy == "cycles":
            return number // self.population * self.population
        return max(0, number - LOOKAHEAD) if self.deterministic else None

    def suggest(self, trial: optuna.Trial | None, before: Sequence[Trial]) -> Values:
        """See `study.Strategy`; no code is tried twice."""
        del trial
        number = len(before)
        rng = np.random.default_rng(derive_seed(self.seed, f"member of the {self.name}s", number))
        tried = {str(other.values["code"]) for other in before}
        known = [other for other in before if other.ended]
        if self.strategy == "cycles":
            best = best_of(known) if self.heirs else None
            return {"code": str(self._new_code(tried, rng)), "parent": None, "heir_of": best.number if best else None}
        if number < self.population or not known:
            return {"code": str(self._new_code(tried, rng)), "parent": None, "heir_of": None}
        alive = known[-self.population :]
        drawn = rng.integers(len(alive), size=self.sample)
        parent = ranked([alive[place] for place in set(drawn.tolist())])[0]
        code = self._new_mutant(parse(str(parent.values["code"]), self.name), tried, rng)
        heir_of = parent.number if self.heirs and parent.rank != WORST else None
        return {"code": str(code), "parent": parent.number, "heir_of": heir_of}

    def inheritable(self, trials: Sequence[Trial]) -> set[int]:
        """See `study.Strategy`."""
        wanted = {heir for trial in trials if not trial.ended and isinstance(heir := trial.values.get("heir_of"), int)}
        if best := best_of(trials[: len(trials) // self.population * self.population]):
            wanted.add(best.number)
        if self.strategy == "aging" and self.heirs:
            # With any timing, fewer trials are under way than a deterministic search looks ahead.
            wanted |= set(range(len(trials) - self.population - 2 * LOOKAHEAD, len(trials)))
        return wanted

    def _new_code(self, tried: set[str], rng: np.random.Generator) -> Code:
        code = random_code(self.space, rng)
        while str(code) in tried:
            code = random_code(self.space, rng)
        return code

    def _new_mutant(self, code: Code, tried: set[str], rng: np.random.Generator) -> Code:
        start, draws = code, 0
        mutant = mutate(start, self.space, self.mutation, rng)
        while str(mutant) in tried:
            draws += 1
            if draws % PATIENCE == 0:  # all codes nearby were tried
                start = mutant
            mutant = mutate(start, self.space, self.mutation, rng)
        return mutant


class Space(NamedTuple):
    """All codes of one network at one image size."""

    network: str  # `generator` or `discriminator`
    attention: tuple[int, ...]  # numbers of the cells that self-attention may follow

    @property
    def operations(self) -> tuple[int, ...]:
        """The digits that an edge may have."""
        return tuple(OPERATIONS[self.network])


def space_of(network: str, image_size: int) -> Space:
    """Return the space of a network's codes at this image size."""
    return Space(network, attention_cells(network, image_size))


def random_code(space: Space, rng: np.random.Generator) -> Code:
    """Draw a code: each number of nodes, operation and self-attention is equally likely."""
    nodes = int(rng.integers(NODES[0], NODES[1] + 1))
    edges = tuple(tuple(int(rng.choice(space.operations)) for _ in range(nodes - node)) for node in range(1, nodes))
    return Code(nodes, edges, tuple(cell for cell in space.attention if rng.random() < 0.5))


def mutate(code: Code, space: Space, rate: float, rng: np.random.Generator) -> Code:
    """Change each element with probability ``rate`` to another of its values, the number of nodes by one.

    The code may stay the same.
    """
    if rng.random() < rate:
        code = _one_node_more_or_less(code, space, rng)
    edges = tuple(
        tuple(
            int(rng.choice([other for other in space.operations if other != digit])) if rng.random() < rate else digit
            for digit in group
        )
        for group in code.edges
    )
    attention = tuple(cell for cell in space.attention if (cell in code.attention) != (rng.random() < rate))
    return Code(code.nodes, edges, attention)


def _one_node_more_or_less(code: Code, space: Space, rng: np.random.Generator) -> Code:
    nodes = int(rng.choice([count for count in (code.nodes - 1, code.nodes + 1) if NODES[0] <= count <= NODES[1]]))
    if nodes < code.nodes:
        return Code(nodes, tuple(group[:-1] for group in code.edges[:-1]), code.attention)
    new = [int(rng.choice(space.operations)) for _ in range(code.nodes)]  # an edge from each other node to the new one
    edges = tuple((*group, digit) for group, digit in zip((*code.edges, ()), new, strict=True))
    return Code(nodes, edges, code.attention)
