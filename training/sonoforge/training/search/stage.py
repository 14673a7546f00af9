"""One stage of a search: its children on disk, and the loop that asks for the next, has it trained and keeps it.

What is asked depends on the seed and on the children before it, which `search.json` holds; so a search that is killed
and resumed goes on as it would have, and no code is trained twice.  Children are trained side by side, and each is
chosen as a worker becomes free, by all that is known then: that depends on timing.  A deterministic search chooses by
the children that were born at least `LOOKAHEAD` before, known or waited for: any number of workers up to that, wherever
they are, leads to the same children.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sonoforge.runtime.atomic import remove_folder
from sonoforge.training.search.child_training import ChildTask, reads, train_child
from sonoforge.training.search.children import Child, child_folder
from sonoforge.training.search.early_stopping import bars
from sonoforge.training.search.evolution import Evolution, fittest, next_member
from sonoforge.training.search.variation import Space
from sonoforge.training.tasks.workers import Workers

LOOKAHEAD = 8


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """How one network is searched."""

    evolution: Evolution
    space: Space  # its network gives the stage its name
    proxies: tuple[str, ...]  # of `early_stopping.PROXIES`
    deterministic: bool  # whether the result may not depend on timing


class Stage:
    """The children of one network's search; one process at a time works with it."""

    def __init__(self, plan: StagePlan, children: Sequence[Child], save: Callable[[], None]) -> None:
        """Go on with what there is.

        Args:
            plan: How to search.
            children: Those so far, by number.
            save: Called after each change of `children`, which is the object that is to be saved.
        """
        self.plan, self.name = plan, plan.space.network
        self.children = list(children)
        self._save = save

    @property
    def best(self) -> Child | None:
        """The child of the best fitness; None as long as none has one."""
        found = fittest([child.tried() for child in self.children])
        child = None if found is None else self.children[found.member.number]
        return child if child is not None and child.reports else None

    def wanted(self) -> Iterator[Child | None]:
        """Yield the children to train: those that were under way, then new ones.

        None where the next cannot be chosen before another has ended.
        """
        yield from [child for child in self.children if not child.ended]
        while len(self.children) < self.plan.evolution.total:
            horizon, waits = self._horizon(len(self.children))
            if waits and not all(child.ended for child in self.children[:horizon]):
                yield None
                continue
            tried = [child.tried(known=number < horizon) for number, child in enumerate(self.children)]
            member = next_member(self.plan.evolution, self.plan.space, tried)
            if member is None:
                yield None
                continue
            known = [child.reports for child in self.children[:horizon] if child.ended]
            child = Child(member, bars(self.plan.proxies, known))
            self.children.append(child)
            self._save()
            yield child

    def tell(self, child: Child) -> None:
        """Keep how a child's training ended, or something more that is known of it."""
        self.children[child.member.number] = child
        self._save()

    def _horizon(self, number: int) -> tuple[int, bool]:
        """Number of the oldest children by which a child is chosen, and whether it waits until all these have ended."""
        evolution = self.plan.evolution
        if evolution.strategy == "cycles":
            return number // evolution.population * evolution.population, True
        return (max(0, number - LOOKAHEAD), True) if self.plan.deterministic else (number, False)


def evolve(stage: Stage, workers: Workers, task: Callable[[Child], ChildTask]) -> Iterator[Child]:
    """Train all children that are missing, and yield each, once it is kept.

    Args:
        stage: What is searched.
        workers: Who trains.
        task: Makes a child's task.
    """
    tasks = (None if child is None else task(child) for child in stage.wanted())
    for child in workers.run(train_child, tasks, reads):
        stage.tell(child)
        yield child


def remove_checkpoints(stage: Stage, run: Path) -> None:
    """Remove the checkpoints that no later child can inherit from, but the best: each is as large as its networks."""
    evolution, children = stage.plan.evolution, stage.children
    horizon = len(children) // evolution.population * evolution.population
    kept = {child.member.heir_of for child in children if not child.ended}
    for best in (stage.best, _best(children[:horizon])):
        kept |= {best.member.number} if best else set()
    if evolution.strategy == "aging" and evolution.heirs:
        # In a search that goes by timing, the children that are under way are fewer than those that are looked ahead.
        kept |= set(range(len(children) - evolution.population - 2 * LOOKAHEAD, len(children)))
    for child in children:
        checkpoints = child_folder(run, stage.name, child.member) / "checkpoints"
        if child.ended and child.member.number not in kept and checkpoints.is_dir():
            remove_folder(checkpoints)


def _best(children: Sequence[Child]) -> Child | None:
    found = fittest([child.tried() for child in children])
    return None if found is None else children[found.member.number]
