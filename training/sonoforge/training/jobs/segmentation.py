"""Compare generators by the U-Nets that learn from their pairs, tested on real patients, in one run folder.

This is the experiment of Thakur and Thakur (six GANs on three modalities) on any set of images with masks: generators
trained on the training patients of a fold, pairs drawn from them, and a U-Net trained on real pairs, generated ones, or
both, tested on real patients of that fold; it shows KID and FID of the same images, and the paper's claims, beside it.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sonoforge.runtime.cli.options import flatten
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.errors import SonoforgeError, require
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training import run_folder
from sonoforge.training.architecture_search.space import Values, best_settings
from sonoforge.training.crossval.fold_task import keep_plan
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.split_plan import FILE
from sonoforge.training.devices import device_name, find_device
from sonoforge.training.evaluation.spaces import choose_space
from sonoforge.training.gan.settings import fill_budget
from sonoforge.training.gan.start_from import refuse_seen_by_start
from sonoforge.training.reports.segmentation import conclude, write_report
from sonoforge.training.segmentation.experiment import (
    FoldTask,
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
    write_cases,
    write_tables,
)
from sonoforge.training.segmentation.generating import check_measurable, draw_and_measure, train_generator
from sonoforge.training.segmentation.options import ALL, BUDGETS, SIX, UNETS, find_arm
from sonoforge.training.segmentation.pairs import PICTURES, sheet_name, write_sheet
from sonoforge.training.segmentation.scoring import run_fold
from sonoforge.training.settings.evaluation import SegmentConfig
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import counted
from sonoforge.training.workers import WorkerSettings, check_cluster, open_workers

log = logging.getLogger(__name__)


def work(config: SegmentConfig) -> run_folder.Written:
    """Train every generator and every U-Net that is missing; write `figures.CASES`, `figures.TABLE` and the page.

    Its results are ``sets``, see `figures.compute_set` and `conclude`, one for each of ``--data``.

    Raises:
        SonoforgeError: The settings do not go together, or a set has no masks or too few patients.
        GateError: A training image gives away a test image.
    """
    config = _fill_defaults(config)
    check_recipes(config)
    sets = [_plan(config, data) for data in config.data]
    names = [own.images.name for own in sets]
    if len(set(names)) < len(names):
        raise SonoforgeError(f"--data: {', '.join(names)} must have different names; rename a folder")
    for task in _all_tasks(sets):
        training_part(task, "every training")  # refused here, before anything is trained
        if config.recipes:
            check_measurable(task)
    folder = run_folder.open_run(Path(config.out), "segment-" + "-".join(names), flatten(config), resume=config.resume)
    with run_folder.working_in(folder):
        for images, tasks in sets:
            device = device_name(find_device(config.device))
            run_folder.write_environment(folder, device, config.seed, images.cache.fingerprint)
            tasks[:] = [replace(task, folder=folder / task.folder) for task in tasks]
            tasks[0].folder.mkdir(exist_ok=True)
            keep_plan(tasks[0].folder / FILE, tasks[0].plan)
            pairs = take_pairs(images, tasks[0].plan.train(0), 3)
            write_sheet(tasks[0].folder / PICTURES / sheet_name("real"), pairs.images, 0 * pairs.maps, pairs.maps)
        first = sets[0].tasks[0].experiment
        how = f"{first.unet.steps} steps of {first.unet.batch} pairs, {first.unet.width} channels"
        log.info("budget %s: %s in all; each U-Net %s", first.budget, counted(len(_all_tasks(sets)), "fold"), how)
        if first.recipes:
            log.info("generators: %s", durations(first))
        scores = _train_and_judge(folder, config, _all_tasks(sets))
        write_cases(folder / CASES, scores)
        results = [_results(own, scores) for own in sets]
        page = write_report(folder, results, sets)
        write_tables(folder, results)
        run_folder.write_results(folder, {"sets": results})
    return run_folder.Written(folder, page, {"sets": results})


def read_comparison(cases: Path) -> list[Record]:
    """Compute the figures of every set again from just the scores in a run's ``cases.csv``, or its ``.csv.gz``.

    Raises:
        SonoforgeError: See `figures.read_cases`.
    """
    scores = read_cases(cases)
    names = dict.fromkeys(score.data for score in scores)
    return [conclude(compute_set(name, [score for score in scores if score.data == name], [])) for name in names]


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
    if not config.arms:
        raise SonoforgeError("--arms: give at least one arm, such as real")
    drawn = ",".join(name for name in config.arms if find_arm(name).dose)
    if drawn and not recipes:
        raise SonoforgeError(f"--recipes is none, but {drawn} need generated pairs; give recipes or other --arms")
    recipes = recipes if drawn else ()
    budget = BUDGETS[config.budget]
    require("sonoforge segment", "segment", "monai")
    check_cluster(config.cluster, config.device)
    find_device(config.device)
    return replace(
        config,
        recipes=recipes,
        tuned_settings=_read_tuned(config.tuned, recipes),
        generator=fill_budget(config.generator, budget["generator"]),
        image_size=config.image_size or budget["image_size"],
        unet=replace(UNETS[config.budget], **{key: own for key, own in vars(config.unet).items() if own is not None}),
    )


def _read_tuned(runs: Sequence[str], recipes: Sequence[str]) -> dict[str, Values]:
    """Return the best settings of the recipes that runs of `gan search` searched.

    Raises:
        SonoforgeError: A run searched none of the recipes, or two searched the same one.
    """
    found: dict[str, Values] = {}
    for run in runs:
        tuned = best_settings(Path(run))
        own = {name: values for name, values in tuned.items() if name in recipes}
        if not own or set(own) & set(found):
            raise SonoforgeError(
                f"tuned: {run} has {', '.join(tuned)}, but must have recipes of this run ({', '.join(recipes)}), each "
                "once; search them with the same gan.preset"
            )
        found |= own
    return found


def _plan(config: SegmentConfig, data: str) -> PlannedSet:
    """Open one set, refuse what cannot be run on it, and list its work: one task for each tested fold and seed."""
    phantom = (data,) == PHANTOM
    source = ImageSource(
        (data,),
        config.images,
        config.seed,
        config.storage.open(),
        Preprocessing(size=config.image_size or 0),  # filled in
        fewest_classes=1,
        groups_from=config.groups_from,
    )
    images = open_labelled_set(source)
    if not images.maps.any():
        raise SonoforgeError(f"{data}: has no outlined pixel in {len(images.maps)} images; add masks")
    features = config.metric_features or ("bundle" if phantom else "")
    if config.recipes and not features:
        features = choose_space(list(images.cache.images), images.name, "--set metrics.features")
    experiment = replace(config, metric_features=features)
    refuse_seen_by_start(config.generator.start_from, images.cache, source.cache)
    plan = plan_folds(images, config.protocol, config.folds, config.seed)
    tested = range(min(plan.folds, BUDGETS[config.budget]["tested_folds"] or plan.folds))
    seeds = range(config.seed, config.seed + config.seeds)
    tasks = [FoldTask(Path(images.name), source, plan, fold, seed, experiment) for fold in tested for seed in seeds]
    return PlannedSet(images, tasks)


def _all_tasks(sets: Sequence[PlannedSet]) -> list[FoldTask]:
    return [task for own in sets for task in own.tasks]


def _train_and_judge(folder: Path, config: SegmentConfig, tasks: Sequence[FoldTask]) -> list[CaseScore]:
    """Do what is missing in three rounds: training runs of generators, pairs and their figures, U-Nets."""
    drawing, judging = list(_of_recipes(tasks)), [judged for task in tasks for judged in _of_arms(task)]
    settings = WorkerSettings(config.device, config.jobs, config.cluster)
    with open_workers(settings, folder, max(len(drawing), len(judging))) as workers:
        for group in (drawing, judging):
            group[:] = [replace(task, experiment=replace(task.experiment, device=workers.device)) for task in group]
        with progress_bar("generators", len(drawing), show=bool(drawing)) as advance:
            for done, name in enumerate(workers.run(train_generator, drawing), 1):
                advance(done, name)
        for done, figures in enumerate(workers.run(draw_and_measure, drawing), 1):
            log.info("pairs of %s drawn and measured: %d of %d", figures["recipe"], done, len(drawing))
        missing = [task for task in judging if not task.path.is_file()]
        before = len(judging) - len(missing)
        if before:
            log.info("%d of %d U-Nets are done already", before, len(judging))
        with progress_bar("U-Nets", len(judging), before) as advance:
            for done, scores in enumerate(workers.run(run_fold, missing), before + 1):
                dice = [score.dice for score in scores]
                advance(done, f"Dice {np.nanmean(dice):.3f}" if not np.isnan(dice).all() else None)
    remedy = "delete it, and --resume makes it again"
    return [score for task in judging for score in read_cases(task.path, remedy)]


def _of_recipes(tasks: Sequence[FoldTask]) -> Iterator[FoldTask]:
    for task in tasks:
        yield from (replace(task, recipe=recipe) for recipe in task.experiment.recipes)


def _of_arms(task: FoldTask) -> Iterator[FoldTask]:
    for arm in task.experiment.arms:
        for recipe in task.experiment.recipes if find_arm(arm).dose else ("",):
            yield replace(task, arm=arm, recipe=recipe)


def _results(own: PlannedSet, scores: Sequence[CaseScore]) -> Record:
    name, figures = own.images.name, [draw_and_measure(task) for task in _of_recipes(own.tasks)]
    return conclude(compute_set(name, [score for score in scores if score.data == name], figures))
