"""Evolution on a fitness whose optimum is known, against random search; and its rules, one by one."""

from __future__ import annotations

import numpy as np

from sonoforge.models.ga_gan.codes import Code, parse
from sonoforge.training.search.evolution import WORST, Evolution, Fitness, Member, Tried, next_member
from sonoforge.training.search.variation import Space, random_code, space_of

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


def evolve(evolution: Evolution, optimum: Code, space: Space = SPACE) -> list[Tried]:
    tried: list[Tried] = []
    while len(tried) < evolution.total:
        member = next_member(evolution, space, tried)
        assert member is not None
        tried.append(Tried(member, (-4, distance(member.code, optimum))))
    return tried


def evaluations_until(values: list[float], goal: float) -> int:
    """Evaluations until a value is at most the goal; one more than there were if none is."""
    return next((number for number, value in enumerate(values, start=1) if value <= goal), len(values) + 1)


def test_the_top_percent_is_found_within_300_evaluations_and_the_very_best_more_often_than_at_random() -> None:
    needed: dict[str, list[int]] = {"aging": [], "random": []}
    best: dict[str, list[float]] = {"aging": [], "random": []}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        optimum = random_code(SPACE, rng)
        population = sorted(distance(random_code(SPACE, rng), optimum) for _ in range(4000))
        evolution = Evolution("aging", 20, EVALUATIONS - 20, 5, 0.05, heirs=True, seed=seed)
        runs = {
            "aging": [distance(own.member.code, optimum) for own in evolve(evolution, optimum)],
            "random": [distance(random_code(SPACE, rng), optimum) for _ in range(EVALUATIONS)],
        }
        for name, values in runs.items():
            needed[name].append(evaluations_until(values, population[40]))
            best[name].append(min(values))
    print("evaluations to the top 1 %, and distance of the best after 300:")
    for name, own in needed.items():
        print(f"{name}: median {np.median(own)}, most {max(own)}; mean distance {np.mean(best[name]):.2f}")
    assert max(needed["aging"]) <= EVALUATIONS
    assert np.median(needed["aging"]) < 60
    assert np.mean(best["aging"]) < 0.5 * np.mean(best["random"])


def member(number: int, text: str = "{3, 11-1}") -> Member:
    return Member(number, parse(text, "generator"))


def test_no_code_is_tried_twice() -> None:
    """A small population around one optimum, whose neighbours are soon all tried."""
    space = Space("generator", ())
    evolution = Evolution("aging", 3, 497, 3, 0.02, heirs=False, seed=0)
    codes = [own.member.code for own in evolve(evolution, parse("{3, 11-1}", "generator"), space)]
    assert len(set(codes)) == len(codes) == 500


def test_the_best_of_the_sample_is_the_parent_and_the_oldest_has_left() -> None:
    """Ten members, of whom the first is the best, but is too old; a sample of all but surely finds the next best."""
    rng = np.random.default_rng(0)
    codes = [random_code(SPACE, rng) for _ in range(10)]
    fitness: list[Fitness] = [(-4, 0.1), *((-4, 1.0 + number) for number in range(9))]
    tried = [Tried(Member(number, code), own) for number, (code, own) in enumerate(zip(codes, fitness, strict=True))]
    evolution = Evolution("aging", 9, 50, 200, 0.05, heirs=True, seed=0)
    child = next_member(evolution, SPACE, tried)
    assert child is not None and (child.number, child.parent, child.heir_of) == (10, 1, 1)
    # One that was given up after a quarter stands behind all that went further, whatever its metric.
    given_up = [*tried[:1], Tried(tried[1].member, (-1, 0.0)), *tried[2:]]
    child = next_member(evolution, SPACE, given_up)
    assert child is not None and child.parent == 2
    fresh = next_member(Evolution("aging", 9, 50, 200, 0.05, heirs=False, seed=0), SPACE, tried)
    assert fresh is not None and (fresh.parent, fresh.heir_of) == (1, None)


def test_nobody_inherits_from_a_training_that_diverged() -> None:
    tried = [Tried(member(0), WORST)]
    child = next_member(Evolution("aging", 1, 5, 1, 0.5, heirs=True, seed=0), SPACE, tried)
    assert child is not None and (child.parent, child.heir_of) == (0, None)


def test_cycles_have_new_random_codes_with_the_weights_of_the_best_so_far() -> None:
    evolution = Evolution("cycles", 4, 8, 1, 0.05, heirs=True, seed=0)
    assert evolution.total == 12 and Evolution("cycles", 4, 11, 1, 0.05, heirs=True, seed=0).total == 12
    optimum = parse("{3, 12-6}", "generator")
    tried = evolve(evolution, optimum)
    assert all(own.member.parent is None for own in tried)
    assert [own.member.heir_of for own in tried[:4]] == [None] * 4
    for cycle in (1, 2):
        values = [distance(own.member.code, optimum) for own in tried[: 4 * cycle]]
        assert {own.member.heir_of for own in tried[4 * cycle : 4 * cycle + 4]} == {values.index(min(values))}
    unknown = [*tried[:3], Tried(tried[3].member, None)]
    assert next_member(evolution, SPACE, unknown) is None, "the next cycle waits for the last of this one"


def test_the_same_past_leads_to_the_same_child() -> None:
    evolution = Evolution("aging", 6, 20, 3, 0.05, heirs=True, seed=5)
    optimum = parse("{3, 12-6}", "generator")
    tried = evolve(evolution, optimum)
    for number in range(len(tried)):
        assert next_member(evolution, SPACE, tried[:number]) == tried[number].member


def test_as_long_as_no_fitness_is_known_codes_are_random() -> None:
    """More workers than the population has members do not wait."""
    evolution = Evolution("aging", 2, 20, 3, 0.05, heirs=True, seed=0)
    tried = [Tried(member(0), None), Tried(member(1, "{3, 22-2}"), None)]
    child = next_member(evolution, SPACE, tried)
    assert child is not None and (child.number, child.parent) == (2, None)
