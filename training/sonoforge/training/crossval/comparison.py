"""The comparison of arms: every arm on the same folds and seeds, pooled into ``predictions.csv`` and its figures."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor

from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.training import remote_runs, run_folder
from sonoforge.training.classifier.initial_weights import Backbone, choose_weights, load_backbone
from sonoforge.training.classifier.trust import HeldOutTrust, describe_causes
from sonoforge.training.copies.matches import Match
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.budget_choice import count_chosen_on
from sonoforge.training.crossval.choice_grid import Values
from sonoforge.training.crossval.fold_generators import check_generators, train_needed_generators
from sonoforge.training.crossval.fold_task import (
    FoldResult,
    FoldTask,
    MadeFrom,
    check_finished,
    check_images,
    check_made_from,
    digests_of_arms,
    fold_path,
    keep_plan,
    origins,
    read_fold,
)
from sonoforge.training.crossval.folds import files_read, predictions_of, prepare_worker, run_fold
from sonoforge.training.crossval.nested_choice import NestedFolds, collect_choices, nested_folds, run_inner_folds
from sonoforge.training.crossval.settings import ComparisonSettings
from sonoforge.training.crossval.shared_features import read_all_maps, remove_features, write_features
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.second_opinion import check_plans, find_second_views
from sonoforge.training.data.split_plan import SplitPlan, plan_path
from sonoforge.training.data.splits import count_folds, leaked_images, make_plan
from sonoforge.training.gan.starting_run import refuse_seen_by_start
from sonoforge.training.statistics import tables
from sonoforge.training.statistics.predictions import ANSWERS, Predictions, write_predictions
from sonoforge.training.statistics.protocols import SEALED
from sonoforge.training.statistics.results import (
    ArmResult,
    ComparisonResults,
    EvaluatedArm,
    SecondOpinion,
    SplitResult,
)
from sonoforge.training.tracking.tracker import NONE, Tracker, figures_of
from sonoforge.training.workers.opening import open_workers
from sonoforge.training.workers.workers import Workers, WorkerSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A finished comparison."""

    results: ComparisonResults  # for `results.json`
    backbone: Backbone  # the initial weights that it used
    made_from: dict[str, MadeFrom]  # what each arm's classifiers of the first seed were made from
    maps: Tensor | None  # (V, N, C, H, W) of the frozen blocks for the final arm's images, if they are still known
    chosen: Values  # settings of the final model that were chosen on all images


def compare_once(
    folder: Path, source: ImageSource, cache: ImageCache, settings: ComparisonSettings, tracker: Tracker = NONE
) -> ComparisonResults:
    """Run a comparison in its run folder, or read what an earlier call finished there."""
    check_images(folder, cache)
    if run_folder.is_finished(folder):
        check_finished(folder, settings, cache)
        return cast(ComparisonResults, run_folder.read_results(folder))
    results = compare(folder, source, cache, settings, tracker=tracker).results
    run_folder.write_results(folder, results)
    return results


@dataclass(frozen=True, eq=False)
class _Planned:
    """All that a comparison will train, before any of it is."""

    folder: Path
    cache: ImageCache
    settings: ComparisonSettings  # with the workers' device
    final_arm: str | None
    backbone: Backbone  # initial weights
    views: list[Match]  # second views of one scan, which the plans keep together
    plans: list[SplitPlan]  # one a seed
    tasks: list[FoldTask]  # every fold of every seed and arm
    nested: NestedFolds  # the inner folds on which settings are chosen


def compare(
    folder: Path,
    source: ImageSource,
    cache: ImageCache,
    settings: ComparisonSettings,
    final_arm: str | None = None,
    tracker: Tracker = NONE,
) -> Comparison:
    """Run every arm over every fold and seed in a run folder, and compute the results.

    Writes ``splits.json``, ``environment.json``, ``folds/`` (one file a fold, see `FoldResult`), ``gan/``
    (the generators), ``samples/`` (real and generated images), ``predictions.csv`` and what `second_opinion.gate`
    writes.  A fold that was finished before an interruption is not computed again.  The tracker is sent the accuracy
    of each fold, and at the end each arm's figures.

    Raises:
        SonoforgeError: What an earlier call left there was made from other images, settings or weights.
    """
    if settings.protocol in SEALED:
        refuse_seen_by_start(settings.generator.start_from, cache, source.cache)
    trainings = _count_missing(folder, cache, settings)
    with open_workers(WorkerSettings(settings.device, settings.jobs, settings.cluster), folder, trainings) as workers:
        workers.prepare(prepare_worker, source)  # while this process loads the weights and deals the folds
        on_workers = dataclasses.replace(settings, device=workers.device)
        planned = _plan(folder, source, cache, on_workers, final_arm)
        _refuse(planned)
        environment = run_folder.describe_environment(workers.device, settings.seeds[0], planned.plans[0].fingerprint)
        run_folder.write_environment(folder, environment)
        second_opinion = check_plans(folder, cache, planned.plans, planned.views)
        _run_missing(planned, workers, tracker)
    comparison = _summarise(planned, second_opinion)
    for arm, figures in comparison.results["arms"].items():
        tracker.figures(len(planned.tasks), figures_of(figures, arm))
    return comparison


def _count_missing(folder: Path, cache: ImageCache, settings: ComparisonSettings) -> int:
    """Count the trainings that are still to be done, at most."""
    folds = range(count_folds(cache.dataset, settings.protocol, settings.folds))
    paths = [fold_path(folder, arm, seed, fold) for seed in settings.seeds for arm in settings.arms for fold in folds]
    return sum(not path.is_file() for path in paths) * (settings.choosing.trainings if settings.choosing else 1)


def _plan(
    folder: Path, source: ImageSource, cache: ImageCache, settings: ComparisonSettings, final_arm: str | None
) -> _Planned:
    """Load the initial weights, deal the folds and list what is to be trained."""
    nothing = Backbone({}, "none: nothing is fine-tuned", "")
    backbone = load_backbone(choose_weights(settings.weights, cache), cache) if settings.fine_tuned else nothing
    log.info("initial weights: %s", backbone.source)
    digests = digests_of_arms(settings, backbone.digest)
    views = find_second_views(cache)
    together = [(view.first, view.second) for view in views]
    plans = [make_plan(cache, settings.protocol, settings.folds, seed, together) for seed in settings.seeds]
    for plan in plans:
        keep_plan(plan_path(folder, plan.seed, settings.seeds[0]), plan)
    made = origins(plans, settings, digests)
    tasks = [
        FoldTask(folder, source, plan, fold, arm, settings, backbone, made[plan.seed, arm])
        for plan in plans
        for arm in settings.arms
        for fold in range(plan.folds)
    ]
    return _Planned(folder, cache, settings, final_arm, backbone, views, plans, tasks, nested_folds(tasks, final_arm))


def _refuse(planned: _Planned) -> None:
    """Refuse what could not be trained to the end, and what an earlier call left that was made from something else."""
    every = [*planned.tasks, *planned.nested.tasks]
    check_generators(every, planned.cache)
    for task in every:
        if task.path.is_file():
            check_made_from(task.path, read_fold(task.path).made_from, task.made_from)


def _summarise(planned: _Planned, second_opinion: SecondOpinion) -> Comparison:
    """Read all folds back and compute the results."""
    settings = planned.settings
    final = planned.nested.final() or next((task for task in planned.tasks if task.arm == planned.final_arm), None)
    maps = read_all_maps(final) if final else None
    remove_features(planned.folder)
    folds = [read_fold(task.path) for task in planned.tasks]
    results = _results(planned, folds, second_opinion)
    choice = final.choice if final else None
    if settings.choosing:
        results["choice"] = collect_choices(settings.choosing, settings, folds, choice)
    made = {task.arm: task.made_from for task in planned.tasks if task.plan.seed == settings.seeds[0]}
    return Comparison(results, planned.backbone, made, maps, choice["settings"] if choice else {})


def _results(planned: _Planned, folds: Sequence[FoldResult], second_opinion: SecondOpinion) -> ComparisonResults:
    """Write ``predictions.csv``, and compute what follows from it and from the folds."""
    settings, cache, plans = planned.settings, planned.cache, planned.plans
    classes = cache.dataset.classes
    predictions = [_pool(arm, plan, folds, cache.dataset) for plan in plans for arm in settings.arms]
    write_predictions(planned.folder / ANSWERS, predictions, classes)
    evaluation = tables.evaluate(predictions, classes)
    by_seed = {
        arm: [[fold for fold in folds if (fold.arm, fold.seed) == (arm, seed)] for seed in settings.seeds]
        for arm in settings.arms
    }
    results = ComparisonResults(
        data=cache.dataset.name,
        classes=list(classes),
        class_counts=cache.class_counts,
        protocol=settings.protocol,
        budget=settings.budget,
        classifier=dataclasses.asdict(settings.classifier),
        gan=dict(settings.generator_record),
        weights=planned.backbone.source,
        arms={
            own.arm: _arm_result(evaluation["arms"][own.arm], own, by_seed[own.arm])
            for own in predictions
            if own.seed == plans[0].seed
        },
        comparisons=evaluation["comparisons"],
        never_right=evaluation["never_right"],
        split=_describe_split(settings.budget, plans[0], cache, second_opinion),
    )
    if "learning_curves" in evaluation:
        results["learning_curves"] = evaluation["learning_curves"]
    return results


def _run_missing(planned: _Planned, workers: Workers, tracker: Tracker) -> None:
    """Run the folds that have no result yet, after the generators that they share; those with most images first."""
    tasks, nested = planned.tasks, planned.nested
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
        for result in workers.run(run_fold, missing, files_read):
            done += 1
            where = f"{result.arm}: fold {result.fold + 1} of {tasks[0].plan.folds} (seed {result.seed})"
            count, seconds = len(result.files), result.seconds
            log.info("%s: accuracy %.3f on %d images, %.0f s", where, result.accuracy, count, seconds)
            remote_runs.copy_now()
            tracker.figures(done, {f"{result.arm}/fold_accuracy": result.accuracy})
            advance(done, f"{result.arm} fold {result.fold + 1}")


def _pool(arm: str, plan: SplitPlan, folds: Sequence[FoldResult], dataset: Dataset) -> Predictions:
    """Put the folds' predictions back into the order of the data set, of which only what was tested is left."""
    probabilities = np.full((len(plan.files), len(folds[0].probabilities[0])), np.nan)
    for fold in folds:
        if (fold.arm, fold.seed) == (arm, plan.seed):
            probabilities[plan.test(fold.fold)] = fold.probabilities
    return predictions_of(arm, plan, plan.tested, probabilities[plan.tested], dataset)


def _arm_result(figures: EvaluatedArm, part: Predictions, by_seed: Sequence[Sequence[FoldResult]]) -> ArmResult:
    """Put together an arm's figures: ``part`` is of its first seed, as is what is not said of each seed."""
    folds = by_seed[0]
    judged = _pooled_trust(part, folds)
    result = ArmResult(
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


def _pooled_trust(part: Predictions, folds: Sequence[FoldResult]) -> HeldOutTrust | None:
    """Put together what the images are judged by; None where a fold lacks it, as a comparator's."""
    judged = [fold.trust for fold in folds if fold.trust is not None]
    if len(judged) < len(folds):
        return None
    return HeldOutTrust(**{key: _pooled(part, [vars(own)[key] for own in judged]) for key in vars(judged[0])})


def _pooled(part: Predictions, by_fold: Sequence[Sequence[float]]) -> list[float]:
    """Put each fold's values of its test images into the order of the data set."""
    values = np.empty(len(part.files))
    values[np.argsort(part.folds, kind="stable")] = np.concatenate(by_fold)
    return values.tolist()


def _describe_split(budget: str, plan: SplitPlan, cache: ImageCache, second_opinion: SecondOpinion) -> SplitResult:
    return SplitResult(
        protocol=plan.protocol,
        folds=plan.folds,
        images=len(plan.files),
        groups=len(set(plan.groups)),
        fold_sizes=[len(plan.test(fold)) for fold in range(plan.folds)],
        test_images_with_near_duplicate_in_training=[
            len(leaked_images(plan, fold, cache)) for fold in range(plan.folds)
        ],
        second_opinion=second_opinion,
        chosen_on=count_chosen_on(budget, cache),
        fingerprint=plan.fingerprint,
    )
