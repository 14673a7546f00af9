"""Evolution on a fitness whose optimum is known, against random search; and its rules, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.storages import InMemoryStorage

from sonoforge.models.ga_gan import Code, parse
from sonoforge.training.architecture_search.strategies import Evolution, Space, random_code, space_of
from sonoforge.training.architecture_search.study import COMPLETE, DIVERGED, PRUNED, Study, Trial, Values

SPACE = space_of("generator", 64)
SEEDS = range(12)
EVALUATIONS = 300


def distance(code: Code, optimum: Code) -> float:
    """Elements in which two codes differ; a node counts twice."""
    edges = [
        (a, b) for own, other in zip(code.edges, optimum.edges, strict=False) for a, b in zip(own, other, strict=False)
    ]
    wrong = sum(a != b for a, b in edges) + len(set(code.attention) ^ set(optimum.attention))
    return float(wrong + 2 * abs(code.nodes - optimum.nodes))


def evolution_of(*how: object, heirs: bool, seed: int = 0, space: Space = SPACE) -> Evolution:
    """As it is written: strategy, population, children, sample, mutation."""
    return Evolution(space, *how, heirs=heirs, seed=seed)  # type: ignore[arg-type]


def ended(values: Values, number: int, value: float, reports: int = 4) -> Trial:
    return Trial("generator", number, values, COMPLETE if reports == 4 else PRUNED, ((reports, value),))


def code_of(trial: Trial) -> Code:
    return parse(str(trial.values["code"]), "generator")


def evolve(evolution: Evolution, optimum: Code) -> list[Trial]:
    trials: list[Trial] = []
    while len(trials) < evolution.total:
        values = evolution.suggest(None, trials[: evolution.horizon(len(trials))])
        code = parse(str(values["code"]), "generator")
        trials.append(ended(values, len(trials), distance(code, optimum)))
    return trials


def evaluations_until(values: list[float], goal: float) -> int:
    """Evaluations until a value is at most the goal; one more than there were if none is."""
    return next((number for number, value in enumerate(values, start=1) if value <= goal), len(values) + 1)


@pytest.mark.slow
def test_the_top_percent_is_found_within_300_evaluations_and_the_very_best_more_often_than_at_random() -> None:
    needed: dict[str, list[int]] = {"aging": [], "random": []}
    best: dict[str, list[float]] = {"aging": [], "random": []}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        optimum = random_code(SPACE, rng)
        population = sorted(distance(random_code(SPACE, rng), optimum) for _ in range(2000))
        evolution = evolution_of("aging", 20, EVALUATIONS - 20, 5, 0.05, heirs=True, seed=seed)
        runs = {
            "aging": [distance(code_of(own), optimum) for own in evolve(evolution, optimum)],
            "random": [distance(random_code(SPACE, rng), optimum) for _ in range(EVALUATIONS)],
        }
        for name, values in runs.items():
            needed[name].append(evaluations_until(values, population[20]))
            best[name].append(min(values))
    print("evaluations to the top 1 %, and distance of the best after 300:")
    for name, own in needed.items():
        print(f"{name}: median {np.median(own)}, most {max(own)}; mean distance {np.mean(best[name]):.2f}")
    assert max(needed["aging"]) <= EVALUATIONS
    assert np.median(needed["aging"]) < 60
    assert np.mean(best["aging"]) < 0.5 * np.mean(best["random"])


def test_no_code_is_tried_twice() -> None:
    """A small population around one optimum, whose neighbours are soon all tried."""
    evolution = evolution_of("aging", 3, 497, 3, 0.02, heirs=False, space=Space("generator", ()))
    codes = [code_of(own) for own in evolve(evolution, parse("{3, 11-1}", "generator"))]
    assert len(set(codes)) == len(codes) == 500


def test_the_best_of_the_sample_is_the_parent_and_the_oldest_has_left() -> None:
    """Ten members, of whom the first is the best, but is too old; a sample of all but surely finds the next best."""
    rng = np.random.default_rng(0)
    codes: list[Values] = [{"code": str(random_code(SPACE, rng))} for _ in range(10)]
    trials = [ended(code, number, 1.0 + number if number else 0.1) for number, code in enumerate(codes)]
    child = evolution_of("aging", 9, 50, 200, 0.05, heirs=True).suggest(None, trials)
    assert (child["parent"], child["heir_of"]) == (1, 1)
    # One that was given up after a quarter stands behind all that went further, whatever its metric.
    given_up = [trials[0], ended(codes[1], 1, 0.0, reports=1), *trials[2:]]
    assert evolution_of("aging", 9, 50, 200, 0.05, heirs=True).suggest(None, given_up)["parent"] == 2
    fresh = evolution_of("aging", 9, 50, 200, 0.05, heirs=False).suggest(None, trials)
    assert (fresh["parent"], fresh["heir_of"]) == (1, None)


def test_nobody_inherits_from_a_training_that_diverged() -> None:
    trials = [Trial("generator", 0, {"code": "{3, 11-1}"}, DIVERGED)]
    child = evolution_of("aging", 1, 5, 1, 0.5, heirs=True).suggest(None, trials)
    assert (child["parent"], child["heir_of"]) == (0, None)


def test_cycles_have_new_random_codes_with_the_weights_of_the_best_so_far() -> None:
    evolution = evolution_of("cycles", 4, 8, 1, 0.05, heirs=True)
    assert evolution.total == 12 and evolution_of("cycles", 4, 11, 1, 0.05, heirs=True).total == 12
    optimum = parse("{3, 12-6}", "generator")
    trials: list[Trial] = []
    study = Study(InMemoryStorage(), evolution)
    asked = study.wanted()
    for _ in range(12):
        trial = next(asked)
        assert trial is not None
        study.tell(ended(trial.values, trial.number, distance(code_of(trial), optimum)))
    trials = study.trials
    assert all(own.values["parent"] is None for own in trials)
    assert [own.values["heir_of"] for own in trials[:4]] == [None] * 4
    for cycle in (1, 2):
        values = [distance(code_of(own), optimum) for own in trials[: 4 * cycle]]
        assert {own.values["heir_of"] for own in trials[4 * cycle : 4 * cycle + 4]} == {values.index(min(values))}


def test_the_next_cycle_waits_for_the_last_of_this_one() -> None:
    study = Study(InMemoryStorage(), evolution_of("cycles", 4, 8, 1, 0.05, heirs=True))
    asked = study.wanted()
    first = [next(asked) for _ in range(4)]
    assert all(first) and next(asked) is None
    for trial in first:
        assert next(asked) is None and trial is not None
        study.tell(ended(trial.values, trial.number, 1.0))
    following = next(asked)
    assert following is not None and following.values["heir_of"] == 0


def test_the_same_past_leads_to_the_same_child() -> None:
    evolution = evolution_of("aging", 6, 20, 3, 0.05, heirs=True, seed=5)
    trials = evolve(evolution, parse("{3, 12-6}", "generator"))
    for number, trial in enumerate(trials):
        assert evolution.suggest(None, trials[:number]) == trial.values


def test_as_long_as_no_fitness_is_known_codes_are_random() -> None:
    """More workers than the population has members do not wait."""
    trials = [Trial("generator", 0, {"code": "{3, 11-1}"}), Trial("generator", 1, {"code": "{3, 22-2}"})]
    assert evolution_of("aging", 2, 20, 3, 0.05, heirs=True).suggest(None, trials)["parent"] is None


def test_checkpoints_that_may_be_inherited_are_told() -> None:
    rng = np.random.default_rng(0)
    trials = [ended({"code": str(random_code(SPACE, rng))}, number, float(number != 3)) for number in range(39)]
    trials.append(Trial("generator", 39, {"code": "{3, 11-1}", "heir_of": 5}))
    inheritable = evolution_of("aging", 2, 60, 2, 0.1, heirs=True).inheritable(trials)
    assert inheritable == {3, 5, 37, 38}, "the best, a parent, and the population"
