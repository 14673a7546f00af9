"""The order of the children, and those that nobody beats, against their definitions by brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sonoforge.models.ga_gan.codes import parse
from sonoforge.training.search.children import Child, child_folder, read_children, write_children
from sonoforge.training.search.early_stopping import Bars
from sonoforge.training.search.evolution import WORST, Evolution, Member
from sonoforge.training.search.results import pareto_front, ranked
from sonoforge.training.search.stage import LOOKAHEAD, Stage, StagePlan, remove_checkpoints
from sonoforge.training.search.variation import random_code, space_of
from sonoforge.training.trials.training import COMPLETE, DIVERGED, PRUNED

CODE = parse("{3, 12-6}", "generator")


def child(number: int, state: str, kid: float | None, measurements: int = 4, parameters: int = 0) -> Child:
    reports = () if kid is None else ((measurements, kid),)
    return Child(Member(number, CODE), Bars(), state, reports, {"kid": kid, "parameters": parameters})


def test_those_that_came_further_come_first_and_then_the_lowest() -> None:
    children = [
        child(0, COMPLETE, 3.0),
        child(1, PRUNED, 0.1, measurements=1),
        child(2, COMPLETE, 2.0),
        child(3, DIVERGED, None),
        child(4, PRUNED, 0.5, measurements=2),
        child(5, "", None),
        child(6, COMPLETE, 2.0),
    ]
    assert [own.member.number for own in ranked(children)] == [2, 6, 0, 4, 1, 3]
    assert children[3].fitness == WORST and children[5].fitness is None


def test_the_front_is_that_of_a_search_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        figures = [
            (float(kid), int(cost)) for kid, cost in zip(rng.integers(0, 9, 12), rng.integers(0, 9, 12), strict=True)
        ]
        children = [child(number, COMPLETE, kid, parameters=cost) for number, (kid, cost) in enumerate(figures)]
        children.append(child(12, PRUNED, -1.0, measurements=1, parameters=0))
        wanted = {
            (kid, cost)
            for kid, cost in figures
            if not any((a, b) != (kid, cost) and a <= kid and b <= cost for a, b in figures)
        }
        front = pareto_front(children, "kid", "parameters")
        assert {(own.details["kid"], own.details["parameters"]) for own in front} == wanted
        assert len(front) == len(wanted)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_children(tmp_path) == {"generator": [], "discriminator": []}
    members = [
        Child(Member(0, CODE), Bars({1: 0.5}, 0.25), COMPLETE, ((1, 0.75), (4, 0.5)), {"kid": 0.5}),
        Child(Member(1, CODE, 0, 0), Bars()),
    ]
    write_children(tmp_path, {"generator": members, "discriminator": []})
    assert read_children(tmp_path) == {"generator": members, "discriminator": []}


def test_a_deterministic_search_asks_by_those_at_least_eight_before_and_waits_for_them() -> None:
    evolution = Evolution("aging", 4, 30, 2, 0.1, heirs=False, seed=0)
    plan = StagePlan(evolution, space_of("generator", 32), (), deterministic=True)
    stage = Stage(plan, [], lambda: None)
    asked = stage.wanted()
    first = [next(asked) for _ in range(LOOKAHEAD + 1)]
    assert all(own is not None and own.member.parent is None for own in first), "there is nobody to be chosen by yet"
    for own in first[:0:-1]:  # the last of them end first: the next waits for the very first, by which it is chosen
        assert next(asked) is None
        assert own is not None
        stage.tell(Child(own.member, own.bars, COMPLETE, ((4, 0.5),)))
    assert next(asked) is None
    assert first[0] is not None
    stage.tell(Child(first[0].member, first[0].bars, COMPLETE, ((4, 1.0),)))
    following = next(asked)
    assert following is not None and following.member.number == LOOKAHEAD + 1
    assert following.member.parent == 0, "though others are better"


def test_checkpoints_that_may_be_inherited_and_the_best_are_kept(tmp_path: Path) -> None:
    run, rng, space = tmp_path, np.random.default_rng(0), space_of("generator", 32)
    evolution = Evolution("aging", 2, 60, 2, 0.1, heirs=True, seed=0)
    members = [Member(number, random_code(space, rng)) for number in range(40)]
    children = [
        Child(own, Bars(), COMPLETE, ((4, 0.0 if own.number == 3 else 1.0),)) if own.number < 39 else Child(own, Bars())
        for own in members
    ]
    for own in members:
        (child_folder(run, "generator", own) / "checkpoints" / "step-00000001").mkdir(parents=True)
    stage = Stage(StagePlan(evolution, space, (), deterministic=False), children, lambda: None)
    remove_checkpoints(stage, run)
    left = {own.number for own in members if (child_folder(run, "generator", own) / "checkpoints").is_dir()}
    assert left == {3, *range(40 - 2 - 2 * LOOKAHEAD, 40)}
