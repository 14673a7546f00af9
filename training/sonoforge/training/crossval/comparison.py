"""Compare arms: run every arm on the same folds and seeds, pooled into ``predictions.csv`` and its figures."""

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.training import remote_runs, run_folder
from sonoforge.training.classifier.trust import describe_causes
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.choices import count_chosen_on
from sonoforge.training.crossval.evidence import write_record
from sonoforge.training.crossval.fold_task import FoldResult, FoldTask, check_made_from, keep_plan, read_fold
from sonoforge.training.crossval.folds import (
    pool_trust,
    predictions_of,
    run_fold,
    train_needed_generators,
    write_features,
)
from sonoforge.training.crossval.nested_choice import NestedFolds, collect_choices, run_inner_folds
from sonoforge.training.crossval.preparation import Prepared
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.data.second_opinion import check_plans
from sonoforge.training.data.split_plan import SplitPlan, plan_path
from sonoforge.training.data.splits import leaked_images
from sonoforge.training.statistics import tables
from sonoforge.training.statistics.predictions import ANSWERS, Predictions, write_predictions
from sonoforge.training.statistics.results import Record
from sonoforge.training.workers import Workers, WorkerSettings, open_workers

log = logging.getLogger(__name__)


def compare(folder: Path, prepared: Prepared) -> Record:
    """Run every arm over every fold and seed in a run folder, and return the results.

    Write ``splits.json``, ``environment.json``, ``folds/`` (one file a fold, see `FoldResult`), ``gan/`` (the
    generators), ``samples/`` (real and generated images), ``predictions.csv`` with its record, and what `check_plans`
    writes. Keep folds finished before an interruption.
    """
    settings, cache, plans, backbone = prepared.settings, prepared.cache, prepared.plans, prepared.backbone
    asked = WorkerSettings(settings.device, settings.jobs, settings.cluster)
    with open_workers(asked, folder, len(prepared.missing)) as workers:
        log.info("%s", "\n".join(prepared.describe()))
        placed = prepared.placed(folder, workers.device)
        tasks, nested = placed.tasks, placed.nested
        for plan in plans:
            keep_plan(plan_path(folder, plan.seed, settings.seeds[0]), plan)
        for task in [*tasks, *nested.tasks]:
            if task.path.is_file():
                check_made_from(task.path, read_fold(task.path).made_from, task.made_from)
        run_folder.write_environment(folder, workers.device, settings.seeds[0], plans[0].fingerprint)
        second_opinion = check_plans(folder, cache, plans, prepared.views)
        _run_missing(tasks, nested, workers)
    final = nested.final() or next((task for task in tasks if task.arm == settings.final_arm), None)
    shutil.rmtree(folder / "features", ignore_errors=True)
    folds = [read_fold(task.path) for task in tasks]
    predictions = [_pool(arm, plan, folds, cache.dataset) for plan in plans for arm in settings.arms]
    write_predictions(folder / ANSWERS, predictions, cache.dataset.classes)
    write_record(folder / ANSWERS)
    # All that follows from the predictions and the folds.
    evaluation = tables.evaluate(predictions, cache.dataset.classes)
    by_seed = {
        arm: [[fold for fold in folds if (fold.arm, fold.seed) == (arm, seed)] for seed in settings.seeds]
        for arm in settings.arms
    }
    results = {
        "data": cache.dataset.name,
        "classes": list(cache.dataset.classes),
        "class_counts": cache.class_counts,
        "protocol": settings.protocol,
        "budget": settings.budget,
        "classifier": dataclasses.asdict(settings.classifier),
        "gan": dict(settings.generator_record),
        "weights": backbone.source,
        "arms": {
            own.arm: _arm_result(evaluation["arms"][own.arm], own, by_seed[own.arm])
            for own in predictions
            if own.seed == settings.seeds[0]
        },
        "comparisons": evaluation["comparisons"],
        "never_right": evaluation["never_right"],
        "split": _describe_split(settings.budget, plans[0], cache, second_opinion),
    }
    if settings.choosing:
        results["choice"] = collect_choices(settings.choosing, settings, folds, final.choice if final else None)
    return results


def _run_missing(tasks: Sequence[FoldTask], nested: NestedFolds, workers: Workers) -> None:
    """Run folds without a result, after the generators that they share; start with those with the most images."""
    missing = sorted((task for task in tasks if not task.path.is_file()), key=lambda task: not task.own_arm.fill)
    inner = nested.missing
    if not missing and not inner:
        return
    done = len(tasks) - len(missing)
    log.info("%d folds to run, %d at a time on %s", len(missing), workers.slots, workers.device)
    write_features(inner, workers)
    train_needed_generators([*missing, *inner], workers)
    run_inner_folds(inner, workers)
    missing = [nested.with_choice(task) for task in missing]
    write_features(missing, workers)
    with progress_bar("folds", len(tasks), done) as advance:
        for result in workers.run(run_fold, missing):
            done += 1
            where = f"{result.arm}: fold {result.fold + 1} of {tasks[0].plan.folds} (seed {result.seed})"
            count, seconds = len(result.files), result.seconds
            log.info("%s: accuracy %.3f on %d images, %.0f s", where, result.accuracy, count, seconds)
            remote_runs.copy_now()
            advance(done, f"{result.arm} fold {result.fold + 1}")


def _pool(arm: str, plan: SplitPlan, folds: Sequence[FoldResult], dataset: Dataset) -> Predictions:
    """Put the folds' predictions in the order of the data set, without images that were not tested."""
    probabilities = np.full((len(plan.files), len(folds[0].probabilities[0])), np.nan)
    for fold in folds:
        if (fold.arm, fold.seed) == (arm, plan.seed):
            probabilities[plan.test(fold.fold)] = fold.probabilities
    return predictions_of(arm, plan, plan.tested, probabilities[plan.tested], dataset)


def _arm_result(figures: Record, part: Predictions, by_seed: Sequence[Sequence[FoldResult]]) -> Record:
    """Assemble an arm's figures; ``part``, and all figures that are not per seed, are from its first seed."""
    folds = by_seed[0]
    judged = pool_trust(part, folds)
    result = dict(
        **figures,
        title=find_arm(folds[0].arm).title,
        train_accuracy=float(np.mean([fold.train_accuracy for fold in folds])),
        train_accuracy_by_seed=[[fold.train_accuracy for fold in own] for own in by_seed],
        learning_curves=[fold.history for fold in folds],
        seconds=float(sum(fold.seconds for fold in folds)),
        generated_per_fold=[fold.added for fold in folds],
        trust=None if judged is None else vars(judged),
    )
    if judged is not None:
        result["flags"] = describe_causes(part, judged)
    return result


def _describe_split(budget: str, plan: SplitPlan, cache: ImageCache, second_opinion: Record) -> Record:
    return {
        "protocol": plan.protocol,
        "folds": plan.folds,
        "images": len(plan.files),
        "groups": len(set(plan.groups)),
        "fold_sizes": [len(plan.test(fold)) for fold in range(plan.folds)],
        "test_images_with_near_duplicate_in_training": [
            len(leaked_images(plan, fold, cache)) for fold in range(plan.folds)
        ],
        "second_opinion": second_opinion,
        "chosen_on": count_chosen_on(budget, cache),
        "fingerprint": plan.fingerprint,
    }
