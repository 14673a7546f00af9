"""Train a segmentation experiment's generators on one fold, sample them, and measure them.

A generator that takes only latent vectors makes images and masks together. One that draws into label maps gets its
training fold's, unchanged or distorted.
"""

import dataclasses
import functools
import json
import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sonoforge.runtime.atomic import replacing, write_json
from sonoforge.runtime.images.synthetic import split_masks
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.devices import find_device, measured_memory
from sonoforge.training.evaluation import image_set, measure, spaces
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.generator import (
    load_generator,
    maps_drawn_into,
    sample_batches,
    sample_into,
)
from sonoforge.training.gan.settings import compose
from sonoforge.training.gan.ticks import training_cost
from sonoforge.training.gan.training import Training, prepare
from sonoforge.training.gan.training_set import join_masks, make_training_set, shuffled_epochs
from sonoforge.training.run_folder import is_finished, log_to, read_results
from sonoforge.training.segmentation import experiment
from sonoforge.training.segmentation.options import find_arm
from sonoforge.training.segmentation.pairs import (
    PICTURES,
    Pairs,
    clean_maps,
    distort_maps,
    sheet_name,
    to_label_maps,
    to_levels,
    to_side,
    write_sheet,
)
from sonoforge.training.statistics.results import Record

log = logging.getLogger(__name__)

PAIRS, FIGURES, MEMORY = "pairs.npz", "figures.json", "memory.json"
METRICS = ("kid", "fid")
MOST_MEASURED = 500  # images of either side for KID and FID


def _prepare(task: experiment.FoldTask, images: experiment.LabelledSet, train: NDArray[np.int64]) -> Training:
    """Prepare the training of the task's recipe on its pairs of image and masks."""
    settings = experiment.settings_of(task.experiment, task.recipe)
    structures, channels = len(images.structures), experiment.image_channels(images, task)
    size = settings.image_size or images.cache.size
    told = experiment.tell_classes(task, images, train)
    classes, labels = np.unique(told or [images.name], return_inverse=True)
    log.info("%s: %s", task.name, f"told the classes {'; '.join(classes)}" if told else "told no classes")
    if size != images.cache.size:
        preprocessing = dataclasses.replace(task.source.preprocessing, size=size)
        images = experiment.open_labelled_set(task.source._replace(preprocessing=preprocessing))
    pairs = experiment.take_pairs(images, train, channels)
    names = tuple(classes.tolist())
    training_set = make_training_set(pairs.images, labels if told else None, names, size, str(channels))
    levels = to_levels(pairs.maps, structures).transpose(0, 3, 1, 2)
    training_set = dataclasses.replace(
        training_set, pixels=join_masks(training_set.pixels, levels), structures=images.structures, name=images.name
    )
    seed = task.derived_seed(f"generator {task.recipe}")
    settings = dataclasses.replace(settings, class_name="" if told else images.name, image_size=size, seed=seed)
    if settings.batch is not None and settings.batch > len(pairs):
        log.info("%s: batch %d lowered to its %d pairs", task.name, settings.batch, len(pairs))
        settings = dataclasses.replace(settings, batch=len(pairs))
    return prepare(settings, training_set, task.experiment.device)


def train_generator(task: experiment.FoldTask) -> str:
    """Train the task's recipe on its training fold unless already done; return the task's name."""
    from sonoforge.training.gan.engine import train_gan  # noqa: PLC0415 - its TensorBoard takes a second

    images, train = experiment.training_part(task, f"generator {task.recipe}")
    folder = experiment.generator_folder(task)
    with log_to(task.folder.parent):
        training = _prepare(task, images, train)
        if not is_finished(folder):
            with measured_memory(find_device(task.experiment.device)) as memory:
                train_gan(training, folder, resume=True)
            write_json(folder / MEMORY, memory)
    return task.name


def draw_and_measure(task: experiment.FoldTask) -> Record:
    """Draw pairs from a trained generator into ``pairs.npz`` and measure its images, once."""
    folder = experiment.generator_folder(task)
    if (folder / FIGURES).is_file() and (folder / PAIRS).is_file():
        kept: Record = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
        return kept
    images, train = experiment.training_part(task, f"pairs of {task.recipe}")
    count = math.ceil(max(find_arm(name).dose for name in task.experiment.arms) * len(train))
    with log_to(task.folder.parent):
        drawn = draw_pairs(task, images, train, count)
        with replacing(folder / PAIRS) as file:
            np.savez_compressed(file, images=drawn.images, maps=drawn.maps)
        figures = _measure(task, images, train, drawn)
        if task.shown:
            sheet = task.folder / PICTURES / sheet_name(task.recipe)
            write_sheet(sheet, drawn.images, 0 * drawn.maps, drawn.maps, synthetic=True)
    write_json(folder / FIGURES, figures)
    return figures


def draw_pairs(
    task: experiment.FoldTask, images: experiment.LabelledSet, train: NDArray[np.int64], count: int
) -> Pairs:
    """Draw pairs of the set's image size from the fold's generator; their maps are cleaned by `pairs.clean_maps`."""
    folder, seed = experiment.generator_folder(task), task.derived_seed("pairs")
    generator = load_generator(folder, str(find_device(task.experiment.device)))
    about = gan_checkpoint.describe(gan_checkpoint.find_checkpoint(folder))
    told, into = experiment.tell_classes(task, images, train), maps_drawn_into(generator) > 0
    # Into its map, or in the training part's proportions.
    order = np.arange(count) % len(train) if into else shuffled_epochs(len(train), 0, count, seed, "classes of pairs")
    labels = [about.classes.index(told[index]) for index in order] if told else None
    if into:
        maps = _choose_maps(task, images, train, count)
        drawn_into = to_levels(maps, len(images.structures))
        side = experiment.settings_of(task.experiment, task.recipe).image_size or images.cache.size
        drawn = np.concatenate([*sample_into(generator, to_side(drawn_into, side), count, seed, labels)])
        return Pairs(to_side(drawn[..., : about.image_channels], images.cache.size), maps)
    batches = [to_side(batch, images.cache.size) for batch in sample_batches(generator, count, seed, labels)]
    own, levels = split_masks(np.concatenate(batches), about.image_channels)
    assert levels is not None  # noqa: S101 - every generator of an experiment is trained with masks
    return Pairs(own, clean_maps(to_label_maps(levels)))


def _choose_maps(
    task: experiment.FoldTask, images: experiment.LabelledSet, train: NDArray[np.int64], count: int
) -> NDArray[np.uint8]:
    """Return (count, S, S) maps to draw into."""
    repeated = images.maps[train][np.arange(count) % len(train)]
    if task.experiment.maps == "real":
        return repeated
    chance = torch.Generator().manual_seed(task.derived_seed("pairs"))
    return distort_maps(torch.from_numpy(repeated).long(), chance).numpy().astype(np.uint8)


def _measure(
    task: experiment.FoldTask, images: experiment.LabelledSet, train: NDArray[np.int64], drawn: Pairs
) -> Record:
    folder, channels = experiment.generator_folder(task), drawn.images.shape[3]
    real = tested_images(task, images, channels)
    chosen = drawn.images[evenly_spaced(len(drawn), min(len(real), MOST_MEASURED))]
    evaluation = open_evaluation(task)
    rows, _ = measure.measure_sets(evaluation, real, _as_set(task.recipe, chosen, (), synthetic=True))
    checkpoint = gan_checkpoint.find_checkpoint(folder)
    about = gan_checkpoint.describe(checkpoint)
    recipe = compose(experiment.settings_of(task.experiment, task.recipe))
    states = [gan_checkpoint.load_state(checkpoint, name) for name in ("generator", "discriminator")]
    cost = training_cost(folder, about.step)
    memory = json.loads((folder / MEMORY).read_text(encoding="utf-8"))["gib"] if (folder / MEMORY).is_file() else None
    return {
        "recipe": task.recipe,
        "fold": task.fold,
        "seed": task.seed,
        "images": len(train),
        "steps": about.step,
        "kimg": read_results(folder)["last_tick"]["kimg"],
        "seconds_per_epoch": (cost["seconds_per_kimg"] or 0) * len(train) / 1000,
        "memory_gib": memory,
        "weights": sum(tensor.numel() for own in states for tensor in own.values() if tensor.is_floating_point()),
        "classes": about.classes,
        "perceptual": recipe.through(about.settings["features"]) if recipe.perceptual_weight else "",
        "metrics": rows,
        "protocol_id": measure.protocol_id(evaluation.describe(real, len(chosen))),
        "structures": _shares(drawn.maps, images.structures),
        "real_structures": _shares(images.maps[train], images.structures),
    }


def tested_images(task: experiment.FoldTask, images: experiment.LabelledSet, channels: int) -> image_set.ImageSet:
    """Return at most `MOST_MEASURED` images of the test fold, which no generator of the fold has seen."""
    test = task.plan.test(task.fold)
    test = test[evenly_spaced(len(test), min(len(test), MOST_MEASURED))]
    groups = [f"patient {task.plan.groups[index]}" for index in test.tolist()]
    return _as_set(images.name, experiment.take_pairs(images, test, channels).images, groups, synthetic=False)


def _as_set(name: str, pixels: Pixels, groups: Sequence[str], *, synthetic: bool) -> image_set.ImageSet:
    names = [str(index) for index in range(len(pixels))]
    stored = image_set.store_arrays(list(pixels), names, name, declared=synthetic, groups=groups)
    return image_set.resized(name, stored, pixels.shape[1], pixels.shape[3], "as the training saw them")


def open_evaluation(task: experiment.FoldTask) -> measure.EvaluationProtocol:
    """Return the protocol that measures generated images."""
    asked = task.experiment
    space = _open_space(asked.metric_features, asked.metric_weights, str(find_device(asked.device)))
    return measure.EvaluationProtocol(METRICS, [space], None, asked.repeats, task.seed, None)


@functools.lru_cache(maxsize=1)
def _open_space(features: str, weights: str, device: str) -> spaces.Space:
    return spaces.open_spaces((features,), weights, device, ("--set metrics.features", "--set metrics.weights"))[0]


def check_measurable(task: experiment.FoldTask) -> None:
    """Refuse a test fold with too few images to measure generated ones, before training anything.

    Raises:
        SonoforgeError: See `EvaluationProtocol.describe`.
    """
    images = experiment.open_labelled_set(task.source)
    real = tested_images(task, images, experiment.image_channels(images, task))
    open_evaluation(task).describe(real, len(real))


def _shares(maps: NDArray[np.uint8], structures: tuple[str, ...]) -> dict[str, float]:
    return {name: float((maps == k).any((1, 2)).mean()) for k, name in enumerate(structures, start=1)}
