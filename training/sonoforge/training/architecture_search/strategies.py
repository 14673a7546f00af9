"""Choose trials for a study: Optuna suggests the settings of a recipe, evolution designs the cells of a network.

Evolution's next code is a function of the previous trials.  Ageing: Real, Aggarwal, Huang, Le, "Regularized Evolution
for Image Classifier Architecture Search", AAAI 2019, algorithm 1: the best of a sample of the population is mutated,
and the oldest member leaves.  Cycles: the other of the two accounts that Berezsky and Liashchynskyi 2024 give of their
search: each cycle has a new population of random codes, with the weights of the best so far.

A trial tries a ``code``; ``parent`` is the trial whose code was mutated (None: drawn at random), ``heir_of`` the one
whose trained weights it starts with (None: fresh ones).

An element of a code is its number of nodes, the operation of one edge, or whether self-attention follows one cell.  A
new node goes last, with an edge from every other one; removing a node removes the last.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import optuna

from sonoforge.models.ga_gan import NODES, OPERATIONS, Code, attention_cells, parse
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.architecture_search.space import Parameter, Value, rounded, with_values
from sonoforge.training.architecture_search.study import WORST, Trial, Values, best_of, ranked
from sonoforge.training.architecture_search.trial import Opened, prepare_trial
from sonoforge.training.gan.options import GanSettings

log = logging.getLogger(__name__)

STARTUP = (4, 10)  # least and most trials drawn at random before TPE takes over
OPTIMISER = "optimiser"
PATIENCE = 100  # draws of a new code; then the search walks on from the last of them


@dataclasses.dataclass(frozen=True)
class Evolution:
    """The search for one of the two networks."""

    space: Space
    strategy: str  # `aging` or `cycles`
    population: int
    children: int  # born after the first population; of cycles rounded down to whole populations
    sample: int  # members that compete to be a parent, drawn with replacement as in the paper
    mutation: float  # probability with which each element of a code changes
    heirs: bool  # whether a member starts with trained weights where these fit
    seed: int

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
        return number // self.population * self.population if self.strategy == "cycles" else None

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
            wanted |= {trial.number for trial in [one for one in trials if one.ended][-self.population :]}
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


@dataclasses.dataclass(frozen=True)
class SettingsSearch:
    """The search for the settings of one recipe."""

    name: str  # of the study: the recipe
    space: tuple[Parameter, ...]
    total: int  # trials
    seed: int

    def horizon(self, number: int) -> None:
        """See `study.Strategy`: all ended trials count in choosing one."""
        del number

    def suggest(self, trial: optuna.Trial, before: Sequence[Trial]) -> Values:
        """See `study.Strategy`.

        Trials in progress count as bad, so that other values are tried meanwhile.
        """
        del before
        seed = derive_seed(self.seed, f"sampler of {self.name}", trial.number, bits=32)
        least, most = STARTUP
        startup = min(most, max(least, self.total // 4))
        trial.study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed, constant_liar=True)
        values: Values = {}
        for parameter in self.space:
            if parameter.optimiser and values.get(OPTIMISER, parameter.optimiser) != parameter.optimiser:
                continue
            name = parameter.name
            if parameter.choices:
                suggested = cast(Value, trial.suggest_categorical(name, parameter.choices))
            elif parameter.whole:
                suggested = trial.suggest_int(name, int(parameter.low), int(parameter.high), log=parameter.log)
            else:
                suggested = trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
            values[name] = rounded(suggested)
        return values

    def inheritable(self, trials: Sequence[Trial]) -> set[int]:
        """See `study.Strategy`: no trial inherits weights."""
        del trials
        return set()


def trial_settings(opened: Opened, study: str, number: int, values: Mapping[str, Value]) -> GanSettings:
    """Return the settings of a trial; its seed is derived from the search's, the recipe and its number."""
    settings = opened.settings
    own = with_values(settings, opened.recipe, values)
    return dataclasses.replace(own, seed=derive_seed(settings.seed, f"trial of {study}", number, bits=32))


def tried(trial: Trial) -> dict[str, Value]:
    """Return the values that a trial of settings tries."""
    return {name: value for name, value in trial.values.items() if value is not None}


def possible_space(opened: Opened, space: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Check each choice and each end of a range, one parameter at a time, without training.

    Batches larger than the number of images are left out, with a warning.

    Raises:
        SonoforgeError: The settings cannot be trained.
    """
    recipe = opened.settings.recipe
    images = len(prepare_trial(opened, opened.settings).images)
    fitting = tuple(_fitting(recipe, parameter, images) for parameter in space)
    others = {parameter.name: _ends(parameter)[0] for parameter in fitting if not parameter.optimiser}
    optimisers = next((parameter.choices for parameter in fitting if parameter.name == OPTIMISER), ())
    for parameter in fitting:
        for value in _ends(parameter):
            needed = {OPTIMISER: parameter.optimiser} if parameter.optimiser in optimisers else {}
            prepare_trial(opened, trial_settings(opened, recipe, 0, {**others, **needed, parameter.name: value}))
    return fitting


def _fitting(recipe: str, parameter: Parameter, images: int) -> Parameter:
    fitting = tuple(value for value in parameter.choices if not isinstance(value, int) or value <= images)
    if parameter.name != "batch" or len(fitting) == len(parameter.choices):
        return parameter
    log.warning("%s: leaving out batches larger than the %d training images", recipe, images)
    return parameter._replace(choices=fitting or (images,))


def _ends(parameter: Parameter) -> tuple[Value, ...]:
    ends: tuple[Value, ...] = (parameter.low, parameter.high)
    return parameter.choices or (tuple(int(end) for end in ends) if parameter.whole else ends)
