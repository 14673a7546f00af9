"""Choose settings inside each training fold, on inner folds without test images (nested cross-validation).

The training part of an outer fold is divided into inner folds by group, stratified by class.  Each candidate is trained
without each inner fold and predicts it; arms with generators train separate ones there. The candidate with the most
correct answers over all inner folds trains the outer fold, so the figures of the outer folds include the choice (Stone,
JRSS B 36, 1974; Varma & Simon, BMC Bioinformatics 7:91, 2006).
"""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.crossval.arms import at_dose, find_arm
from sonoforge.training.crossval.choices import DOSE, Choosing, Values, name_values
from sonoforge.training.crossval.fold_task import FoldResult, FoldTask, Inside, made_from, read_fold
from sonoforge.training.crossval.folds import run_fold
from sonoforge.training.crossval.settings import ComparisonSettings
from sonoforge.training.data.split_plan import LEFT_OUT, UNTESTED, SplitPlan
from sonoforge.training.statistics.results import Record
from sonoforge.training.workers import Workers

log = logging.getLogger(__name__)

_Key = tuple[str, int, int | None]


class Scores(NamedTuple):
    """Each candidate's figures on the same images, and the index of the chosen one."""

    accuracy: list[float]
    cross_entropy: list[float]  # mean, in nats
    best: int


def choose(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> Scores:
    """Choose the candidate that is most often correct; ties go to the lowest cross-entropy, then to the first.

    ``probabilities`` (V, N, C) are the answers of V candidates to images with the true classes ``labels`` (N,).
    """
    right = (probabilities.argmax(axis=2) == labels).sum(axis=1)
    of_truth = probabilities[:, np.arange(len(labels)), labels].clip(np.finfo(np.float64).tiny)
    entropy = -np.log(of_truth).mean(axis=1)
    best = int(np.lexsort((entropy, -right))[0])  # a stable sort: the first of equals stays first
    return Scores((right / len(labels)).tolist(), entropy.tolist(), best)


@dataclass(frozen=True)
class NestedFolds:
    """The inner folds of a comparison, by arm, seed and outer fold number; empty if there is no choice."""

    outer: dict[_Key, FoldTask]  # the folds without a result, and the final model
    inner: dict[_Key, list[list[FoldTask]]]  # by candidate, then by inner fold

    @property
    def tasks(self) -> list[FoldTask]:
        """All inner folds."""
        return [task for candidates in self.inner.values() for folds in candidates for task in folds]

    @property
    def missing(self) -> list[FoldTask]:
        """The inner folds that have no result yet."""
        return [task for task in self.tasks if not task.path.is_file()]

    def with_choice(self, task: FoldTask) -> FoldTask:
        """Return an outer fold with the settings that its finished inner folds chose, if it has any."""
        inner = self.inner.get(_key(task))
        if not inner:
            return task
        candidates = [folds[0].chosen for folds in inner]
        results = [[read_fold(own.path) for own in folds] for folds in inner]
        plan = inner[0][0].plan
        labels = np.concatenate([np.array(plan.labels)[plan.test(fold)] for fold in range(plan.folds)])
        answers = np.array([[answer for fold in folds for answer in fold.probabilities] for folds in results])
        scores = choose(labels, answers)
        seconds = sum(fold.seconds for folds in results for fold in folds)
        chosen = candidates[scores.best]
        said = "; ".join(
            f"{name_values(own)}: {share:.3f}" for own, share in zip(candidates, scores.accuracy, strict=True)
        )
        log.info("%s: chosen %s (accuracy on inner folds: %s)", task.name, name_values(chosen), said)
        choice = {
            "settings": chosen,
            "accuracy": scores.accuracy,
            "cross_entropy": scores.cross_entropy,
            "seconds": seconds,
        }
        return dataclasses.replace(task, choice=choice)

    def final(self) -> FoldTask | None:
        """Return the final model's task with its choice, or None."""
        return next((self.with_choice(task) for task in self.outer.values() if _is_final(task)), None)


def nested_folds(tasks: Sequence[FoldTask]) -> NestedFolds:
    """Divide the training part of every unfinished outer fold, and all images for the final model, into inner folds."""
    choosing, final_arm = tasks[0].settings.choosing, tasks[0].settings.final_arm
    outer: dict[_Key, FoldTask] = {}
    inner: dict[_Key, list[list[FoldTask]]] = {}
    if choosing:
        first = next((task for task in tasks if task.arm == final_arm), None)
        for task in [*tasks, *([_final_task(first)] if first else [])]:
            if not choosing.candidates(task.own_arm):
                continue
            folds = _inner_tasks(task, choosing)
            if _is_final(task) or not task.path.is_file():
                outer[_key(task)], inner[_key(task)] = task, folds
    return NestedFolds(outer, inner)


def _inner_tasks(task: FoldTask, choosing: Choosing) -> list[list[FoldTask]]:
    plan = _inner_plan(task, choosing.inner_folds)
    made, outer = task.made_from, None if _is_final(task) else task.fold
    generator = made.settings.get("generator", {})

    def inner_task(fold: int, candidate: int, tried: Values) -> FoldTask:
        inner = dataclasses.replace(task, plan=plan, fold=fold, inside=Inside(outer, candidate, tried))
        name = at_dose(task.arm, tried[DOSE]) if DOSE in tried else task.arm
        own = made_from(plan, name, inner.classifier, made.weights, generator)
        return dataclasses.replace(inner, made_from=own)

    return [
        [inner_task(fold, candidate, tried) for fold in range(plan.folds)]
        for candidate, tried in enumerate(choosing.candidates(task.own_arm))
    ]


def _final_task(task: FoldTask) -> FoldTask:
    """Return the task of a model with all images, from a fold of its arm."""
    plan = dataclasses.replace(task.plan, folds=1, fold_of=(UNTESTED,) * len(task.plan.files))
    return dataclasses.replace(task, plan=plan, fold=0)


def _is_final(task: FoldTask) -> bool:
    return task.plan.folds == 1


def _key(task: FoldTask) -> _Key:
    return task.arm, task.plan.seed, None if _is_final(task) else task.fold


def _inner_plan(task: FoldTask, folds: int) -> SplitPlan:
    plan, train = task.plan, task.training
    labels, groups = np.array(plan.labels)[train], np.array(plan.groups)[train]
    for label in np.unique(labels):
        found = len(np.unique(groups[labels == label]))
        if found < folds:
            example = plan.files[train[np.flatnonzero(labels == label)[0]]]
            raise SonoforgeError(
                f"--set crossval.choose: {task.name}: the class of {example} has {found} groups in its training "
                f"images, fewer than the {folds} inner folds; give fewer crossval.inner_folds, or add images"
            )
    state = derive_seed(plan.seed, f"inner folds of {'all' if _is_final(task) else task.fold}", bits=32)
    fold_of = np.full(len(plan.files), LEFT_OUT, np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=state)
    for fold, (_, tested) in enumerate(splitter.split(train, labels, groups)):
        fold_of[train[tested]] = fold
    return dataclasses.replace(plan, folds=folds, fold_of=tuple(fold_of.tolist()))


def run_inner_folds(missing: Sequence[FoldTask], workers: Workers) -> None:
    """Run inner folds; their feature maps and generators must exist."""
    if not missing:
        return
    log.info("%d inner folds to choose settings on", len(missing))
    with progress_bar("inner folds", len(missing)) as advance:
        for done, result in enumerate(workers.run(run_fold, missing), 1):
            advance(done, result.arm)


def collect_choices(
    choosing: Choosing, settings: ComparisonSettings, folds: Sequence[FoldResult], final: Record | None
) -> Record:
    """Collect, for ``results.json``, what was chosen in each fold and for the final model, if any."""
    candidates = {arm: own for arm in settings.arms if (own := choosing.candidates(find_arm(arm)))}
    found = {
        arm: [
            [fold.choice for fold in folds if fold.choice and (fold.arm, fold.seed) == (arm, seed)]
            for seed in settings.seeds
        ]
        for arm in candidates
    }
    every = [choice for seeds in found.values() for choices in seeds for choice in choices] + ([final] if final else [])
    result = {
        "grid": {name: list(values) for name, values in choosing.grid},
        "candidates": candidates,
        "inner_folds": choosing.inner_folds,
        "folds": found,
        "trainings": sum(len(choice["accuracy"]) for choice in every) * choosing.inner_folds,
        "seconds": sum(choice["seconds"] for choice in every),
    }
    if final:
        result["final"] = final
    return result
