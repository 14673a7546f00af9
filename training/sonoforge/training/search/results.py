"""What a search has found: each child as a row, the order of the best, and those that nobody beats in everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.training.search.children import Child, child_folder
from sonoforge.training.search.evolution import WORST
from sonoforge.training.search.stage import StagePlan
from sonoforge.training.trials.training import ENDED

FIGURES = ("kid", "kid_standard_error", "fid", "parameters", "latency_ms", "kimg", "seconds", "diversity", "seed")
COLUMNS = ("stage", "child", "code", "parent", "heir_of", "state", *FIGURES, "partner", "why", "run")

Row = dict[str, Any]


class Searched(NamedTuple):
    """One stage, at its end or so far."""

    plan: StagePlan
    partner: str  # code of the other network
    children: Sequence[Child]  # by number, those that are under way, too
    best: Child | None
    apart: dict[str, Any]  # the best's figures against images that chose nothing; empty as long as there are none

    @property
    def stage(self) -> str:
        """The network that is searched."""
        return self.plan.space.network

    @property
    def ended(self) -> list[Child]:
        """The children whose training is over."""
        return [child for child in self.children if child.ended]


def ranked(children: Sequence[Child]) -> list[Child]:
    """Return the children that have ended, the fittest first."""
    ended = [child for child in children if child.fitness is not None]
    return sorted(ended, key=lambda child: (child.fitness or WORST, child.member.number))


def child_row(searched: Searched, child: Child) -> Row:
    """Return a child that has ended in the columns of the table."""
    member = child.member
    about = {"stage": searched.stage, "child": member.number, "code": str(member.code), "parent": member.parent}
    figures = {name: child.details.get(name) for name in FIGURES}
    folder = child_folder(Path(), searched.stage, member)
    more = {"partner": searched.partner, "why": child.details.get("why", ""), "run": folder.as_posix()}
    return {**about, "heir_of": member.heir_of, "state": child.state, **figures, **more}


def pareto_front(children: Sequence[Child], metric: str, cost: str) -> list[Child]:
    """Return the children that no other beats in the metric without a higher cost, the cheapest first.

    Args:
        children: Only those whose training came to its end, and whose cost is known, are compared.
        metric: ``kid`` or ``fid``; lower is better.
        cost: Another figure of which less is better, such as ``parameters`` or ``latency_ms``.
    """
    compared = [child for child in children if child.state in ENDED and child.details.get(cost) is not None]
    front: list[Child] = []
    for child in sorted(compared, key=lambda child: (child.details[cost], child.details[metric], child.member.number)):
        if not front or child.details[metric] < front[-1].details[metric]:
            front.append(child)
    return front
