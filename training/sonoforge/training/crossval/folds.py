"""Run one fold of one arm: train its generators, train without the fold, predict it, and record everything read."""

import dataclasses
import functools
import hashlib
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoforge.runtime.atomic import replacing, write_json
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.runtime.images.synthetic import cut_masks
from sonoforge.training.classifier.augmentation import VARIANTS
from sonoforge.training.classifier.network import Watched, answer, build_network, frozen_features, pixel_views
from sonoforge.training.classifier.training import ClassifierJob, train_classifier
from sonoforge.training.classifier.trust import HeldOutTrust, assess_held_out
from sonoforge.training.comparators import Comparator
from sonoforge.training.comparators.networks import extract_features
from sonoforge.training.crossval import balancing, fold_task
from sonoforge.training.crossval.arms import added_counts, classes_with_generators, find_arm
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.data.labelled_images import LabelledImages, read_masks
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.pixels import Pixels, write_grid
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.data.splits import check_sealed
from sonoforge.training.devices import deterministic_kernels, find_device
from sonoforge.training.gan.ticks import read_stats
from sonoforge.training.progress import following
from sonoforge.training.run_folder import is_finished, log_to
from sonoforge.training.statistics.predictions import Predictions, pick
from sonoforge.training.workers import Workers

log = logging.getLogger(__name__)

LEAST_IMAGES = 2  # for a generator: batch normalisation cannot take a single one
GeneratorTask = tuple[fold_task.FoldTask, int]  # one generator: a fold that draws from it, and its class


def seen_by_generators(task: fold_task.FoldTask) -> fold_task.Indices:
    """Return the images that generators may read: the fold's training images, or all under ``thesis``."""
    return np.arange(len(task.plan.files)) if task.plan.protocol == "thesis" else task.training


def check_generators(tasks: Sequence[fold_task.FoldTask], cache: ImageCache) -> None:
    """Refuse folds with too few images for generators, or without the masks they need."""
    for task, label in needed_generators(tasks):
        labels = np.array(task.plan.labels)[seen_by_generators(task)]
        of_all = balancing.generator_name("", task.settings.generator) == balancing.ALL_CLASSES
        found = len(labels) if of_all else int((labels == label).sum())
        if found < LEAST_IMAGES:
            raise SonoforgeError(
                f"{task.name}: its generator of {cache.dataset.classes[label]} has {found} training images and needs "
                f"{LEAST_IMAGES}; add images, or give more --folds or fewer crossval.inner_folds"
            )
    for task in tasks:
        if task.settings.generator.masks and (task.own_arm.reads_generators or task.own_arm.fill == "untrained"):
            read_masks(cache, np.arange(len(cache.images)), task.settings.source.cache)
            return


def generator_job(task: fold_task.FoldTask) -> balancing.GeneratorJob:
    """Return the job of the generators that the task's arm draws from.

    Folder and seed depend on the seed, fold and share of the real images, but not on the arm: arms with the same
    training images share their generators. Seeds never do, even under ``thesis``: a seed repeats everything.
    """
    plan, share = task.plan, task.own_arm.real_share
    seed, name = task.seed, f"fold{task.fold:02d}" + (f"-share{share:g}" if share != 1 else "")
    if plan.protocol == "thesis":
        seed, name = plan.seed, "all"
    root = task.folder
    if task.inside:  # they read no image that the candidates are judged on
        root, name = task.folder / fold_task.INNER, task.inside_name + (f"-share{share:g}" if share != 1 else "")
    folder = root / "gan" / f"seed{plan.seed}-{name}"
    return balancing.GeneratorJob(task.settings.generator, seed, task.settings.device, folder)


def needed_generators(tasks: Sequence[fold_task.FoldTask]) -> list[GeneratorTask]:
    """List the generators that the tasks draw from, each once."""
    found: dict[tuple[Path, str], GeneratorTask] = {}
    for task in tasks:
        if task.own_arm.reads_generators:
            labels = np.array(task.plan.labels)
            counts = np.bincount(labels[seen_by_generators(task)], minlength=labels.max() + 1)
            for label in classes_with_generators(task.own_arm, counts.tolist()):
                name = balancing.generator_name(str(label), task.settings.generator)
                found.setdefault((generator_job(task).folder, name), (task, label))
    return list(found.values())


def train_needed_generators(tasks: Sequence[fold_task.FoldTask], workers: Workers) -> None:
    """Train the tasks' missing generators before the tasks run side by side."""
    needed = needed_generators(tasks)
    if not needed:
        return
    log.info("%d generators for %d folds", len(needed), sum(task.own_arm.reads_generators for task in tasks))
    folders = {generator_job(task).folder for task, _ in needed}

    def how_far() -> float:
        return sum(_share_done(path) for folder in folders for path in folder.glob("*/stats.jsonl"))

    with progress_bar("generators", len(needed), how_far()) as advance, following(how_far, advance):
        for name in workers.run(_train, needed):
            advance(how_far(), name)


def _share_done(stats: Path) -> float:
    """Return the finished share of a generator's training, as of its last tick."""
    rows = read_stats(stats.parent)
    return 1.0 if is_finished(stats.parent) else float(rows[-1]["share"]) if rows else 0.0


def _train(work: GeneratorTask) -> str:
    task, label = work
    cache, seen = open_images(task.settings.source), seen_by_generators(task)
    images = LabelledImages.of_set(cache, seen, np.array(task.plan.groups))
    name = balancing.generator_name(images.classes[label], task.settings.generator)
    read = seen if name == balancing.ALL_CLASSES else seen[images.labels == label]
    check_sealed(task.plan, task.fold, f"generator of {name}", read, cache)
    with log_to(task.folder):
        balancing.train_generators(images, [label], generator_job(task))
    return name


# ---- outputs of frozen networks for every image, computed once and shared by all folds through files


@functools.lru_cache(maxsize=2)
def open_images(source: ImageSource) -> ImageCache:
    """Open a data set once per process; see `load_images`."""
    return load_images(source)


def feature_files(task: fold_task.FoldTask) -> list[Path]:
    """Return the files that a fold reads; their names depend on the images and weights."""
    comparator, classifier = task.own_arm.comparator, task.classifier
    names: list[str] = []
    inputs = hashlib.sha256(f"{task.plan.fingerprint} {task.made_from.weights}".encode()).hexdigest()[:16]
    if comparator and not comparator.segmented:  # lesions are cut out anew in each fold
        names = [f"{network}-{inputs}" for network in comparator.networks]
    elif not comparator and classifier.cached_blocks:
        kind = f"{classifier.augmentation}-{classifier.frozen_blocks}-{classifier.precision}-seed{task.plan.seed}"
        names = [f"{kind}-{inputs}-{variant}" for variant in range(VARIANTS[classifier.augmentation])]
    return [task.folder / "features" / f"{name}.npy" for name in names]


def write_features(tasks: Sequence[fold_task.FoldTask], workers: Workers) -> None:
    """Run the frozen networks over all images for every file that is missing."""
    missing = {
        path: (task, place) for task in tasks for place, path in enumerate(feature_files(task)) if not path.is_file()
    }
    list(workers.run(_write, list(missing.values())))


def _write(work: tuple[fold_task.FoldTask, int]) -> None:
    task, place = work
    cache, device = open_images(task.settings.source), find_device(task.settings.device)
    with deterministic_kernels(device):
        if task.own_arm.comparator:
            network, given = task.own_arm.comparator.networks[place], task.settings.comparator_weights
            features = extract_features(network, given, cache.at(IMAGENET.size).images, device)
        else:
            net = build_network(len(cache.dataset.classes), task.backbone, 0, device)
            maps = frozen_features(net, cache.images, task.classifier, place, task.plan.seed, device)
            features = maps.cpu().numpy()
    path = feature_files(task)[place]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as file:
        np.save(file, features)


def read_maps(task: fold_task.FoldTask, indices: NDArray[np.int64], device: torch.device) -> Tensor:
    """Read the maps (V, N, C, H, W) of the images at these indices."""
    files = [np.load(path, mmap_mode="r", allow_pickle=False) for path in feature_files(task)]
    maps = torch.empty((len(files), len(indices), *files[0].shape[1:]))
    for variant, file in enumerate(files):  # one at a time: they are gigabytes at 224 pixels with few frozen blocks
        maps[variant] = torch.from_numpy(file[indices])
    return maps.to(device)


# ---- one fold


def run_fold(task: fold_task.FoldTask) -> fold_task.FoldResult:
    """Train one arm without one fold, predict that fold, write and return the result; see `check_sealed`."""
    started = time.perf_counter()
    cache = open_images(task.settings.source)
    check_sealed(task.plan, task.fold, fold_task.CLASSIFIER, task.training, cache)
    with log_to(task.folder):
        own = task.own_arm.comparator
        result = _fit_comparator(task, cache, own) if own else _fine_tune(task, cache)
    result = dataclasses.replace(result, seconds=time.perf_counter() - started)
    write_json(task.path, result)
    shutil.rmtree(task.path.with_suffix(""), ignore_errors=True)  # its checkpoints
    return result


def _judge(
    task: fold_task.FoldTask, cache: ImageCache, probabilities: NDArray[np.float64], train_accuracy: float
) -> fold_task.FoldResult:
    """Return the result of a fold with these answers (N, C)."""
    plan, test = task.plan, task.test
    return fold_task.FoldResult(
        arm=task.arm,
        protocol=plan.protocol,
        seed=plan.seed,
        fold=task.fold,
        files=[plan.files[i] for i in test],
        probabilities=probabilities.tolist(),
        accuracy=float((probabilities.argmax(axis=1) == cache.dataset.labels[test]).mean()),
        train_accuracy=train_accuracy,
        seconds=0.0,
        reads={fold_task.CLASSIFIER: tuple(cache.hashes[i] for i in task.training)},
        made_from=task.made_from,
        inner_of=task.inside.fold if task.inside else None,
        choice=task.choice,
    )


def predictions_of(
    arm: str, plan: SplitPlan, tested: fold_task.Indices, probabilities: NDArray[np.float64], dataset: Dataset
) -> Predictions:
    """Return an arm's answers (N, C) to the tested images (N,) of a plan."""
    return Predictions(
        arm=arm,
        protocol=plan.protocol,
        seed=plan.seed,
        files=tuple(plan.files[i] for i in tested),
        groups=np.array(plan.groups)[tested],
        folds=np.array(plan.fold_of)[tested],
        labels=np.array(plan.labels)[tested],
        probabilities=probabilities,
        collections=pick(dataset.sources, tested),
        devices=pick(dataset.devices, tested),
    )


def pool_trust(part: Predictions, folds: Sequence[fold_task.FoldResult]) -> HeldOutTrust | None:
    """Put the folds' trust measures in the order of an arm's answers; None for comparators, which have none."""
    trust = [vars(fold.trust) for fold in folds if fold.trust is not None]
    if len(trust) < len(folds):
        return None
    order = np.argsort(np.argsort(part.folds, kind="stable"))  # from fold after fold to the order of the data set
    return HeldOutTrust(**{name: np.concatenate([own[name] for own in trust])[order].tolist() for name in trust[0]})


def _fit_comparator(task: fold_task.FoldTask, cache: ImageCache, own: Comparator) -> fold_task.FoldResult:
    """Fit a comparator to the features of its frozen networks."""
    from sonoforge.training.comparators import fitting, segmenting  # noqa: PLC0415 - scikit-learn, scipy.signal: slow

    train = task.training
    rows, labels, groups = np.append(train, task.test), cache.dataset.labels[train], np.array(task.plan.groups)[train]
    if own.segmented:
        device = find_device(task.settings.device)
        with deterministic_kernels(device):
            masks = read_masks(cache.at(segmenting.SIDE), train, task.settings.source.cache)
            images = segmenting.enhance(cache.at(IMAGENET.size).images[rows])
            inside = segmenting.outline_lesions(images, masks, labels, groups, task.seed, device)
            lesions = np.where(inside, images, 0).astype(np.uint8).repeat(3, axis=3)
            given = task.settings.comparator_weights
            parts = [extract_features(network, given, lesions, device) for network in own.networks]
    else:
        parts = [np.load(path, allow_pickle=False)[rows] for path in feature_files(task)]
    learned, asked = np.split(np.concatenate(parts, axis=1), [len(train)])
    fitted = fitting.fit_comparator(own, fitting.TrainingFold(learned, labels, groups), task.seed)
    train_accuracy = float((fitted.predict(learned).argmax(axis=1) == labels).mean())
    return _judge(task, cache, fitted.predict(asked), train_accuracy)


def _fine_tune(task: fold_task.FoldTask, cache: ImageCache) -> fold_task.FoldResult:
    """Fine-tune the arm's networks on real images and those that the arm adds."""
    settings, device, train, test = task.classifier, find_device(task.settings.device), task.training, task.test
    images = LabelledImages.of_set(cache, train)
    with deterministic_kernels(device):
        added, generator_reads = _added_images(task, cache)
        views: Sequence[Pixels | Tensor] = pixel_views(cache.images[test], settings.mirror)
        if settings.cached_blocks:
            views = list(read_maps(task, test, device)[: len(views)])
        checkpoint = None  # a training run on cached maps takes seconds
        if not settings.cached_blocks:
            checkpoint = fold_task.open_training(task.path.with_suffix(""), task.made_from) / "checkpoint.pt"
        watched = Watched(views, cache.dataset.labels[test], settings.look) if settings.test_curves else None
        trained = train_classifier(
            images,
            added,
            ClassifierJob(task.backbone, settings, task.seed, device, real=task.own_arm.real, watched=watched),
            features=read_maps(task, train, device) if settings.cached_blocks else None,
            checkpoint=checkpoint,
        )
        answers = answer(trained.members, views, settings.frozen_blocks, device, look=settings.look)
    result = _judge(task, cache, answers.probabilities, trained.train_accuracy)
    return dataclasses.replace(
        result,
        reads={**result.reads, **generator_reads},
        trust=assess_held_out(cache.images[test], answers.embeddings, trained.trust),
        history=trained.history,
        added=0 if added is None else len(added),
    )


def _added_images(
    task: fold_task.FoldTask, cache: ImageCache
) -> tuple[LabelledImages | None, dict[str, Sequence[str]]]:
    """Make the images that the arm adds to the training fold, and list what their generators read."""
    arm, job = task.own_arm, generator_job(task)
    if not arm.fill:
        return None, {}
    seen = seen_by_generators(task)
    if arm.fill == "duplicates":  # a placebo for generated images, so as many as these
        counts = np.bincount(cache.dataset.labels[seen], minlength=len(cache.dataset.classes))
        real = LabelledImages.of_set(cache, task.training)
        return balancing.duplicate_images(added_counts(arm, counts.tolist()), real, task.seed), {}
    images = LabelledImages.of_set(cache, seen, np.array(task.plan.groups))
    reads: dict[str, Sequence[str]] = {}
    for label in classes_with_generators(arm, images.counts.tolist()):
        name = balancing.generator_name(images.classes[label], job.settings)
        own = seen if name == balancing.ALL_CLASSES else seen[images.labels == label]
        check_sealed(task.plan, task.fold, f"generator of {name}", own, cache)
        reads[f"{fold_task.GENERATOR} {name}"] = tuple(cache.hashes[i] for i in own)
    added = balancing.balance(arm, images, job)
    if added is not None:
        reads[fold_task.GENERATED] = added.hashes
        shown = next((name for name in task.settings.arms if find_arm(name).fill == "gan"), None)
        if task.fold == 0 and not task.inside and task.arm == shown:
            _write_samples(task.folder / "samples", LabelledImages.of_set(cache, task.plan.train(0)), added)
    return added, reads


def _write_samples(folder: Path, train: LabelledImages, added: LabelledImages) -> None:
    """Write a grid of 16 real training images and of 16 generated ones, and their masks, for each filled class."""
    folder.mkdir(parents=True, exist_ok=True)
    for label in np.unique(added.labels):
        name = train.classes[label]
        write_grid(train.of(label).pixels[:16], folder / f"real-{name}.png")
        own = added.subset(np.flatnonzero(added.labels == label)[:16])
        write_grid(own.pixels, folder / f"generated-{name}.png")
        if own.masks is not None:
            masks = cut_masks(own.masks(own.pixels.shape[1]))
            write_grid(masks[..., None], folder / f"generated-{name}_mask.png")
