"""The generators of the folds: which images each may read, and each trained once for all arms that draw from it."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.crossval.arms import classes_with_generators
from sonoforge.training.crossval.balancing import check_enough_groups
from sonoforge.training.crossval.fold_task import INNER, FoldTask, Indices
from sonoforge.training.crossval.generators import ALL_CLASSES, GeneratorJob, generator_name, train_generators
from sonoforge.training.crossval.shared_features import open_images
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.labelled_images import LabelledImages, read_masks
from sonoforge.training.data.splits import check_sealed
from sonoforge.training.progress import following
from sonoforge.training.run_folder import is_finished, log_to
from sonoforge.training.workers.workers import Workers

log = logging.getLogger(__name__)

LEAST_IMAGES = 2
"""That a generator can be trained on."""


GeneratorTask = tuple[FoldTask, int]
"""One generator, to be trained in this process or another: a fold that draws from it, its class (of all, any)."""


def seen_by_generators(task: FoldTask) -> Indices:
    """Return the images that the generators may read: the fold's training images, as published (``thesis``) all."""
    return np.arange(len(task.plan.files)) if task.plan.protocol == "thesis" else task.training


def check_generators(tasks: Sequence[FoldTask], cache: ImageCache) -> None:
    """Refuse, before anything is trained, generators that could not be, and images that could not be curated.

    Raises:
        SonoforgeError: Too few groups for the copy test, a generator of a single image, which batch normalisation
            cannot take, or images without the masks that generators are to learn with them; names the fold.
    """
    for task in tasks:
        if task.own_arm.fill == "curated":
            groups = np.array(task.plan.groups)[seen_by_generators(task)]
            check_enough_groups(f"the training part of {task.name}", groups)
    for task, label in needed_generators(tasks):
        labels = np.array(task.plan.labels)[seen_by_generators(task)]
        of_all = generator_name("", task.settings.generator) == ALL_CLASSES
        found = len(labels) if of_all else int((labels == label).sum())
        if found < LEAST_IMAGES:
            raise SonoforgeError(
                f"{task.name}: found {found} image of {cache.dataset.classes[label]} to train its generator "
                f"on, expected at least {LEAST_IMAGES}; add images, or take more --folds or fewer --inner-folds"
            )
    for task in tasks:
        if task.settings.generator.masks and (task.own_arm.reads_generators or task.own_arm.fill == "untrained"):
            read_masks(cache, np.arange(len(cache.images)), task.source.cache)
            return


def generator_job(task: FoldTask) -> GeneratorJob:
    """Return the job of the generators that the task's arm draws from.

    Its folder and seed follow from seed, fold and share of the real images, and not from the arm, so all arms with the
    same training images have the same generators.  Another seed deals other folds and has generators of its own, also
    where they read all images (``thesis``), as a seed repeats the whole comparison.
    """
    plan, share = task.plan, task.own_arm.real_share
    seed, name = task.seed, f"fold{task.fold:02d}" + (f"-share{share:g}" if share != 1 else "")
    if plan.protocol == "thesis":
        seed, name = plan.seed, "all"
    root = task.folder
    if task.inside:  # it reads no image that the candidates are judged on
        root, name = task.folder / INNER, task.inside_name + (f"-share{share:g}" if share != 1 else "")
    folder = root / "gan" / f"seed{plan.seed}-{name}"
    return GeneratorJob(task.settings.generator, seed, task.settings.device, folder)


def needed_generators(tasks: Sequence[FoldTask]) -> list[GeneratorTask]:
    """List the generators that the tasks draw from, each once."""
    found: dict[tuple[Path, str], GeneratorTask] = {}
    for task in tasks:
        if task.own_arm.reads_generators:
            labels = np.array(task.plan.labels)
            counts = np.bincount(labels[seen_by_generators(task)], minlength=labels.max() + 1)
            for label in classes_with_generators(task.own_arm, counts.tolist()):
                name = generator_name(str(label), task.settings.generator)
                found.setdefault((generator_job(task).folder, name), (task, label))
    return list(found.values())


def train_needed_generators(tasks: Sequence[FoldTask], workers: Workers) -> None:
    """Train what the tasks draw from before they run side by side; what is trained is not repeated."""
    needed = needed_generators(tasks)
    if not needed:
        return
    log.info("%d generators for %d folds", len(needed), sum(task.own_arm.reads_generators for task in tasks))
    folders = {generator_job(task).folder for task, _ in needed}

    def how_far() -> float:
        return sum(_share_done(path) for folder in folders for path in folder.glob("*/stats.jsonl"))

    with progress_bar("generators", len(needed), how_far()) as advance, following(how_far, advance):
        for name in workers.run(_train, needed, _begun):
            advance(how_far(), name)


def _share_done(stats: Path) -> float:
    """Return how much of a generator's training is done, 0..1, as of its last tick."""
    if is_finished(stats.parent):
        return 1.0
    try:
        return float(json.loads(stats.read_text(encoding="utf-8").splitlines()[-1])["share"])
    except (OSError, ValueError, IndexError, KeyError):  # being written, or cut short
        return 0.0


def _begun(work: GeneratorTask) -> Sequence[Path]:
    """Return the folder of a generator whose training may have begun."""
    return (generator_job(work[0]).folder,)


def _train(work: GeneratorTask) -> str:
    task, label = work
    cache, seen = open_images(task.source), seen_by_generators(task)
    images = LabelledImages.of_set(cache, seen, np.array(task.plan.groups))
    name = generator_name(images.classes[label], task.settings.generator)
    read = seen if name == ALL_CLASSES else seen[images.labels == label]
    check_sealed(task.plan, task.fold, f"generator of {name}", read, cache)
    with log_to(task.folder):
        train_generators(images, [label], generator_job(task))
    return name
