"""``sonoforge segment``: find which generator helps segmentation: train a U-Net on its pairs, test it on real patients.

This is the experiment of Thakur and Thakur (six GANs on three modalities) on any set of images with masks: generators
trained on the training patients of a fold, pairs drawn from them, and a U-Net trained on real pairs, generated ones, or
both, tested on real patients of that fold; it shows KID and FID of the same images, and the paper's claims, beside it.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.cli.options import Outcome, flatten
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training import run_folder
from sonoforge.training.architecture_search.space import Values, best_settings
from sonoforge.training.crossval.fold_task import keep_plan
from sonoforge.training.data.audit import find_in_both
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.split_plan import FILE
from sonoforge.training.devices import device_name, find_device
from sonoforge.training.evaluation.spaces import choose_space
from sonoforge.training.gan.settings import fill_budget
from sonoforge.training.gan.start_from import refuse_seen_by_start
from sonoforge.training.reports.segmentation import REPORT, tell_sets, write_report
from sonoforge.training.segmentation.experiment import (
    FoldTask,
    LabelledSet,
    PlannedSet,
    check_recipes,
    durations,
    open_labelled_set,
    plan_folds,
    take_pairs,
    training_part,
)
from sonoforge.training.segmentation.figures import (
    CASES,
    CaseScore,
    compute_set,
    read_cases,
    tested_elsewhere,
    write_cases,
    write_tables,
)
from sonoforge.training.segmentation.generating import (
    check_measurable,
    draw_and_measure,
    train_generator,
)
from sonoforge.training.segmentation.options import ALL, SIX, Experiment, find_arm
from sonoforge.training.segmentation.pairs import PICTURES, sheet_name, write_sheet
from sonoforge.training.segmentation.scoring import run_fold
from sonoforge.training.segmentation.unet import check_installed
from sonoforge.training.settings.evaluation import SegmentConfig
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import counted, listed
from sonoforge.training.workers import Workers, WorkerSettings, check_cluster, open_workers

log = logging.getLogger(__name__)

BUDGETS: dict[str, dict[str, Any]] = {
    # What two cores do in an hour with six recipes and three sets.
    "quick": {"image_size": 64, "steps": 300, "tested_folds": 1, "generator": {"batch": 16, "width": 16}},
    # The paper's 200 epochs; batches are each recipe's own.
    "full": {"image_size": 128, "steps": 3000, "tested_folds": None, "generator": {"epochs": 200.0}},
}


def main(config: SegmentConfig) -> Outcome:
    """Train every generator and every U-Net that is missing, then write tables and the page."""
    if config.from_cases:
        return _print_again(config)
    config = _fill_defaults(config)
    sets = [_plan(config, data) for data in config.data]
    names = [own.images.name for own in sets]
    if len(set(names)) < len(names):
        raise SonoforgeError(f"--data: {', '.join(names)} must have different names; rename a folder")
    for task in _all_tasks(sets):
        training_part(task, "every training")  # refused here, before anything is trained
        if task.experiment.recipes:
            check_measurable(task)
    folder = run_folder.open_run(Path(config.out), "segment-" + "-".join(names), flatten(config), resume=config.resume)
    with run_folder.working_in(folder):
        device = device_name(find_device(config.device))
        for images, tasks in sets:
            about = run_folder.describe_environment(device, config.seed, images.cache.fingerprint)
            run_folder.write_environment(folder, about)
            tasks[:] = [dataclasses.replace(task, folder=folder / task.folder) for task in tasks]
            tasks[0].folder.mkdir(exist_ok=True)
            keep_plan(tasks[0].folder / FILE, tasks[0].plan)
        _say_budget(sets[0].tasks[0].experiment, len(_all_tasks(sets)))
        results = _run(folder, config, sets)
        tell_sets(results)
        say("report: %s", folder / REPORT)
        say("scores of every case: %s", folder / CASES)
    result = {"run": str(folder), "sets": results}
    return Outcome(result, f"sonoforge segment --from {folder / CASES}")


def _say_budget(experiment: Experiment, tasks: int) -> None:
    """Say what will be trained, and for how long."""
    unet, folds = experiment.unet, "1 fold" if tasks == 1 else f"{tasks} folds"
    how = f"{unet.steps} steps of {unet.batch} pairs, {unet.width} channels"
    tell(f"budget {experiment.budget}: {folds} in all; each U-Net {how}")
    if experiment.recipes:
        tell(f"generators: {durations(experiment)}")


def _print_again(config: SegmentConfig) -> Outcome:
    """Compute the tables from just the scores."""
    if dataclasses.replace(config, from_cases="") != SegmentConfig():
        raise SonoforgeError("--from cannot be combined with other options")
    scores = read_cases(Path(config.from_cases))
    results = [
        compute_set(name, [score for score in scores if score.data == name], [])
        for name in dict.fromkeys(score.data for score in scores)
    ]
    tell_sets(results)
    return Outcome({"sets": results})


def _fill_defaults(config: SegmentConfig) -> SegmentConfig:
    """Fill in the budget; a given duration or batch replaces the budget's.

    Raises:
        SonoforgeError: There is no arm, an arm or recipe is given twice, arms lack a generator to draw from, or the
            reverse.
    """
    recipes = tuple(name for given in config.recipes for name in (SIX[config.budget] if given == ALL else (given,)))
    recipes = () if recipes == ("none",) else recipes
    for flag, names in (("--arms", config.arms), ("--recipes", recipes)):
        if len(set(names)) < len(names):
            raise SonoforgeError(f"{flag}: {','.join(names)} repeats a name; give each once")
    arms = [find_arm(name) for name in config.arms]
    if not arms:
        raise SonoforgeError("--arms: give at least one arm, such as real")
    if not any(arm.dose for arm in arms):
        recipes = ()
    elif not recipes:
        drawn = ",".join(arm.name for arm in arms if arm.dose)
        raise SonoforgeError(f"--recipes is none, but {drawn} need generated pairs; give recipes or other --arms")
    budget = BUDGETS[config.budget]
    check_installed()
    check_cluster(config.cluster, config.device)
    find_device(config.device)
    return dataclasses.replace(
        config,
        recipes=recipes,
        tuned_settings=_read_tuned(config.tuned, recipes),
        generator=fill_budget(config.generator, budget["generator"]),
        image_size=config.image_size or budget["image_size"],
        unet=dataclasses.replace(config.unet, steps=config.unet.steps or budget["steps"]),
    )


def _read_tuned(runs: Sequence[str], recipes: Sequence[str]) -> dict[str, Values]:
    """Return the best settings of the recipes that runs of `gan search` searched.

    Raises:
        SonoforgeError: A run searched none of the recipes, or two searched the same one.
    """
    found: dict[str, Values] = {}
    for run in runs:
        own = {name: values for name, values in best_settings(Path(run)).items() if name in recipes}
        if not own or set(own) & set(found):
            tuned = ", ".join(best_settings(Path(run)))
            raise SonoforgeError(
                f"tuned: {run} has {tuned}, but must have recipes of this run ({', '.join(recipes)}), each once; "
                "search them with the same gan.preset"
            )
        found |= own
    return found


def _plan(config: SegmentConfig, data: str) -> PlannedSet:
    """Open one set, refuse what cannot be run on it, and list its work: one task for each tested fold and seed."""
    assert config.image_size is not None  # noqa: S101 - filled in
    phantom = (data,) == PHANTOM
    source = ImageSource(
        (data,),
        config.images,
        config.seed,
        config.storage.open(),
        Preprocessing(size=config.image_size),
        fewest_classes=1,
        groups_from=config.groups_from,
    )
    images = open_labelled_set(source)
    if not images.maps.any():
        raise SonoforgeError(f"{data}: has no outlined pixel in {len(images.maps)} images; add masks")
    features = config.metric_features
    if config.recipes and not features:
        sample = [] if phantom else list(images.cache.images[:: max(1, len(images.maps) // 60)])
        features = "bundle" if phantom else choose_space(sample, images.name, "--set metrics.features")
    experiment = dataclasses.replace(config, metric_features=features)
    check_recipes(experiment)
    refuse_seen_by_start(config.generator.start_from, images.cache, source.cache)
    plan = plan_folds(images, config.protocol, config.folds, config.seed)
    tested = range(min(plan.folds, BUDGETS[config.budget]["tested_folds"] or plan.folds))
    seeds = range(config.seed, config.seed + config.seeds)
    folder, elsewhere = Path(images.name), tuple(_elsewhere(config, source, images))
    tasks = [
        FoldTask(folder, source, plan, fold, seed, experiment, elsewhere=elsewhere) for fold in tested for seed in seeds
    ]
    return PlannedSet(images, tasks)


def _elsewhere(config: SegmentConfig, source: ImageSource, images: LabelledSet) -> Iterator[ImageSource]:
    """Open the other sets for testing this one's U-Nets, and refuse unsuitable ones.

    Raises:
        SonoforgeError: Structures differ, or images are in both sets.
    """
    for folder in config.elsewhere:
        if folder in source.data or Path(folder).resolve() == images.cache.dataset.root.resolve():
            continue  # `--data` of several sets, each tested on the others
        other_source = source._replace(data=(folder,))
        other = open_labelled_set(other_source)
        if other.structures != images.structures or other.name == images.name:
            raise SonoforgeError(
                f"--elsewhere: {other.name} has masks of {listed(other.structures)}; give another set with masks of "
                f"{listed(images.structures)}, like {images.name}"
            )
        log.info("%s: looking for its images in %s", images.name, other.name)
        pairs = find_in_both(images.cache, other.cache)["pairs"]
        if pairs:
            raise GateError(
                f"--elsewhere: {other.name} shows {counted(len(pairs), 'scan')} of {images.name}, such as "
                f"{pairs[0]['second']} ({pairs[0]['first']}); take them out of one of the two: sonoforge data audit "
                f"--data {images.cache.dataset.root} --against {folder} lists them"
            )
        refuse_seen_by_start(config.generator.start_from, other.cache, source.cache)
        yield other_source


def _all_tasks(sets: Sequence[PlannedSet]) -> list[FoldTask]:
    return [task for own in sets for task in own.tasks]


def _run(folder: Path, config: SegmentConfig, sets: Sequence[PlannedSet]) -> list[Record]:
    """Do all the work in three rounds: training runs of generators, pairs and their figures, U-Nets."""
    for images, (first, *_) in sets:
        pairs = take_pairs(images, first.plan.train(0), 3)
        write_sheet(first.folder / PICTURES / sheet_name("real"), pairs, synthetic=False)
    tasks = _all_tasks(sets)
    drawing = [dataclasses.replace(task, recipe=recipe) for task in tasks for recipe in task.experiment.recipes]
    scoring = [judged for task in tasks for judged in _unet_tasks(task)]
    settings = WorkerSettings(config.device, config.jobs, config.cluster)
    with open_workers(settings, folder, max(len(drawing), len(scoring))) as workers:
        placed = [_placed(group, workers.device) for group in (drawing, scoring)]
        with progress_bar("generators", len(drawing), show=bool(drawing)) as advance:
            for done, name in enumerate(workers.run(train_generator, placed[0]), 1):
                advance(done, name)
        figures = _measured(workers, placed[0])
        scores = _scored(workers, placed[1])
    ordered = [score for task in scoring for score in scores[task.path]]
    write_cases(folder / CASES, ordered)
    by_set = {name: [score for score in ordered if score.data == name] for name in {score.data for score in ordered}}
    results = [
        compute_set(images.name, by_set[images.name], [row for path, row in figures if path == first.folder])
        for images, (first, *_) in sets
    ]
    elsewhere = [_tested_elsewhere(own, by_set) for own in sets]
    write_report(folder, results, sets, elsewhere)
    results += [own for others in elsewhere for own in others]
    write_tables(folder, results)
    run_folder.write_results(folder, {"sets": results})
    return results


def _tested_elsewhere(own: PlannedSet, scores: Mapping[str, Sequence[CaseScore]]) -> list[Record]:
    """Compute the figures of one set's U-Nets on the other sets."""
    tested = [open_labelled_set(source).name for source in own.tasks[0].elsewhere]
    names = [tested_elsewhere(own.images.name, name) for name in tested]
    return [compute_set(name, scores[name], []) for name in names]


def _placed(tasks: Sequence[FoldTask], device: str) -> list[FoldTask]:
    """Return the tasks for the workers, on the device that was found."""
    return [dataclasses.replace(task, experiment=dataclasses.replace(task.experiment, device=device)) for task in tasks]


def _unet_tasks(task: FoldTask) -> Iterator[FoldTask]:
    for arm in task.experiment.arms:
        for recipe in task.experiment.recipes if find_arm(arm).dose else ("",):
            yield dataclasses.replace(task, arm=arm, recipe=recipe)


def _measured(workers: Workers, tasks: Sequence[FoldTask]) -> list[tuple[Path, Record]]:
    for done, figures in enumerate(workers.run(draw_and_measure, tasks), 1):
        log.info("pairs of %s drawn and measured: %d of %d", figures["recipe"], done, len(tasks))
    return [(task.folder, draw_and_measure(task)) for task in tasks]


def _scored(workers: Workers, tasks: Sequence[FoldTask]) -> dict[Path, list[CaseScore]]:
    """Run the missing U-Nets; return the scores of all by their file."""
    missing = [task for task in tasks if not task.path.is_file()]
    if len(missing) < len(tasks):
        log.info("%d of %d U-Nets are done already", len(tasks) - len(missing), len(tasks))
    with progress_bar("U-Nets", len(tasks), len(tasks) - len(missing)) as advance:
        for done, scores in enumerate(workers.run(run_fold, missing), len(tasks) - len(missing) + 1):
            dice = [score.dice for score in scores]
            advance(done, f"Dice {np.nanmean(dice):.3f}" if not np.isnan(dice).all() else None)
    return {task.path: read_cases(task.path, "delete it, and --resume makes it again") for task in tasks}
