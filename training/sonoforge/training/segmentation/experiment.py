"""Define a segmentation experiment's images and label maps, and its pieces of work: a generator or U-Net."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError, check_known
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.architecture_search.space import with_values
from sonoforge.training.data import data_option, datasets, labelled_images, load, pixels, split_plan, splits
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.evaluation.features import open_features
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.gan.settings import compose, given_lengths
from sonoforge.training.segmentation.options import Arm, Experiment, find_arm
from sonoforge.training.segmentation.pairs import Pairs, to_label_maps
from sonoforge.training.statistics.results import OFFICIAL

VOLUME, SPACING = "volume", ("mm_y", "mm_x")
"""Columns of ``groups.csv`` or ``metadata.csv``, see `collections.volumes.COLUMNS`."""


class Case(NamedTuple):
    """The unit of scoring: the slices of a volume, or an image."""

    name: str
    images: NDArray[np.int64]  # (D,) indices of its slices, in order
    spacing: tuple[float, float]  # distance of two pixels of the label maps, down and across
    unit: str  # of that distance: `mm`, or `pixels` of the label maps where millimetres are unknown


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images of one side with their label maps."""

    name: str
    cache: ImageCache
    maps: NDArray[np.uint8]  # (N, S, S) uint8: 0 is the background, k the k-th structure
    structures: tuple[str, ...]  # names of the K structures
    cases: tuple[Case, ...]


@functools.lru_cache(maxsize=4)
def open_labelled_set(source: load.ImageSource) -> LabelledSet:
    """Open a data set with masks, once per process.

    Raises:
        SonoforgeError: There is no data set, there are no masks or overlapping ones, or an image lacks a mask that
            others of its class have.
    """
    cache = load.load_images(source._replace(fewest_classes=1))  # there may be one class
    levels = labelled_images.read_structures(cache, np.arange(len(cache.hashes)), source.cache, disjoint=True)
    facts = _read_facts(cache)
    maps = to_label_maps(levels.transpose(0, 2, 3, 1))
    return LabelledSet(
        "phantom" if source.data == data_option.PHANTOM else cache.dataset.name,
        cache,
        maps,
        cache.dataset.structures,
        tuple(_list_cases(cache, facts)),
    )


def _read_facts(cache: ImageCache) -> list[dict[str, str]]:
    """Read what the set's tables say about each image, such as volume and spacing."""
    dataset = cache.dataset
    known = {
        f"{name}/{path}" if name else path: facts
        for name, root in (dataset.collections or {"": dataset.root}).items()
        for path, facts in datasets.read_facts(
            root, {item.path.removeprefix(f"{name}/" * bool(name)) for item in dataset.items}
        ).items()
    }
    return [known.get(item.path, {}) for item in dataset.items]


def _list_cases(cache: ImageCache, facts: list[dict[str, str]]) -> list[Case]:
    members: dict[str, list[int]] = {}
    for index, (item, row) in enumerate(zip(cache.dataset.items, facts, strict=True)):
        members.setdefault(row.get(VOLUME) or item.path, []).append(index)
    cases = []
    for name, own in members.items():
        first = own[0]
        spacing, unit = (1.0, 1.0), "pixels"
        width, height = cache.sizes[first].tolist()
        steps = [facts[first].get(column, "") for column in SPACING]
        if all(steps):
            try:
                down, across = map(float, steps)
            except ValueError:
                down = across = 0.0
            if not (0 < down < np.inf and 0 < across < np.inf):
                raise SonoforgeError(
                    f"{cache.dataset.root}: {', '.join(SPACING)} {', '.join(steps)} of "
                    f"{cache.dataset.items[first].path} in groups.csv or metadata.csv are not millimetres; correct "
                    "them, or leave them empty"
                )
            spacing, unit = (down * height / cache.size, across * width / cache.size), "mm"
        cases.append(Case(name, np.array(own), spacing, unit))
    return cases


def plan_folds(images: LabelledSet, protocol: str, folds: int, seed: int) -> split_plan.SplitPlan:
    """Split by patients, or as the set's authors did.

    ``sealed``: folds of whole patients, with near-duplicates counted as one; ``official``: one fold, the published
    split's test images; ``auto``: official if there is such a split, else sealed.

    Raises:
        SonoforgeError: There are too few patients for the folds, or no published split.
    """
    if protocol == "auto":
        protocol = OFFICIAL if splits.has_published_split(images.cache.dataset) else "sealed"
    return splits.make_plan(images.cache, protocol, None if protocol == OFFICIAL else folds, seed)


QUICK_KIMG = {"dcgan": 30.0, "lsgan": 30.0, "wgan": 30.0, "stylegan1": 8.0, "biggan": 5.0, "spade": 4.0}
"""Thousands of images shown to each network at budget quick: two to five core-minutes at 64 x 64 pixels."""
_OTHER_KIMG = 10.0  # for any other recipe


def settings_of(experiment: Experiment, recipe: str) -> GanSettings:
    """Return the settings of one recipe's training, including those found by `gan search`, and its image size."""
    name, _, preset = recipe.partition(":")
    own = dataclasses.replace(experiment.generator, recipe=name, preset=preset or PUBLISHED, masks=True)
    if experiment.budget == "quick":
        own = dataclasses.replace(own, image_size=experiment.image_size)
        if not given_lengths(own):
            own = dataclasses.replace(own, kimg=QUICK_KIMG.get(name, _OTHER_KIMG))
    composed = compose(own)
    own = with_values(own, composed, experiment.tuned_settings.get(recipe, {}))
    return dataclasses.replace(own, image_size=own.image_size or composed.image_size)


@functools.lru_cache(maxsize=1)
def _name_features(features: str) -> str:
    """Open a feature network, of half a gigabyte perhaps, and return its name."""
    return open_features(features).name


def durations(experiment: Experiment) -> str:
    """Say how long, with which batches and through which feature network each generator is trained."""
    said = []
    for recipe in experiment.recipes:
        own = settings_of(experiment, recipe)
        lengths = {"epochs": own.epochs, "thousand images": own.kimg, "steps": own.steps}
        length = next((f"{value:g} {name}" for name, value in lengths.items() if value is not None), "as published")
        found = "" if own.width is None else f", base width {own.width}"
        found += ", tuned" if recipe in experiment.tuned_settings else ""
        composed = compose(own)
        if composed.perceptual_weight:
            found += f", perceptual term through {composed.through(_name_features(own.features))}"
        batch = own.batch or composed.budget.batch
        said.append(f"{recipe} {length}, batches of {batch} at {own.image_size} x {own.image_size}{found}")
    if experiment.tuned_settings:
        said.append("tuned: chosen on that run's images, so optimistic if they include patients tested here")
    return "; ".join(said)


@dataclass(frozen=True)
class FoldTask:
    """One piece of work in a fold: train or sample ``recipe``'s generator, or train ``arm``'s U-Net."""

    folder: Path  # of the set, inside the run folder
    source: load.ImageSource
    plan: split_plan.SplitPlan
    fold: int
    seed: int  # of the training runs
    experiment: Experiment
    recipe: str = ""  # empty: an arm without generated pairs
    arm: str = ""  # empty: the generator itself

    @property
    def name(self) -> str:
        """Its name in messages."""
        what = " ".join(part for part in (self.arm, self.recipe) if part)
        return f"{self.folder.name}: {what}, fold {self.fold + 1} of {self.plan.folds}, seed {self.seed}"

    @property
    def path(self) -> Path:
        """The file of a U-Net's result, which exists once it is done."""
        what = "-".join(part.replace(":", "_") for part in (self.arm, self.recipe) if part)
        return self.folder / "folds" / f"{what}-seed{self.seed}-fold{self.fold:02d}.csv"

    @property
    def own_arm(self) -> Arm:
        """The arm that its name stands for."""
        return find_arm(self.arm)

    @property
    def shown(self) -> bool:
        """Whether its pictures go into the report, which shows the first fold and seed."""
        return self.fold == 0 and self.seed == self.plan.seed

    def derived_seed(self, purpose: str) -> int:
        """Return a seed for one purpose in this fold, the same for all arms."""
        return derive_seed(self.seed, f"{purpose} fold {self.fold}")


class PlannedSet(NamedTuple):
    """A set of images and its work: a task for each tested fold and seed, still without an arm or recipe."""

    images: LabelledSet
    tasks: list[FoldTask]


def generator_folder(task: FoldTask) -> Path:
    """Return the folder of the training of the task's recipe in its fold."""
    return task.folder / "gan" / f"seed{task.seed}-fold{task.fold:02d}" / task.recipe.replace(":", "_")


def check_recipes(experiment: Experiment) -> None:
    """Refuse unknown recipes and presets, and a missing feature network, before anything is trained.

    Raises:
        SonoforgeError: Something is unknown or missing.
    """
    if experiment.generator.features:
        _name_features(experiment.generator.features)
    for recipe in experiment.recipes:
        check_known("--recipes", recipe.partition(":")[0], RECIPES)
        compose(dataclasses.replace(settings_of(experiment, recipe), class_name="pairs"))


def training_part(task: FoldTask, stage: str) -> tuple[LabelledSet, NDArray[np.int64]]:
    """Open the task's set and return the images of its training fold, proved to be sealed.

    Raises:
        GateError: One of them gives away a test image.
    """
    images = open_labelled_set(task.source)
    train = task.plan.train(task.fold)
    splits.check_sealed(task.plan, task.fold, stage, train, images.cache)
    return images, train


def tell_classes(task: FoldTask, images: LabelledSet, chosen: NDArray[np.int64]) -> list[str]:
    """Return the class that the task's recipe is told of each chosen image; nothing if it is told none.

    A recipe with conditioning is told the classes of the set or, where all images are of one, which structures each
    shows; if all show the same, it is unconditional.
    """
    if compose(settings_of(task.experiment, task.recipe)).conditioning == "none":
        return []
    dataset = images.cache.dataset
    told = [dataset.classes[label] for label in dataset.labels[chosen]]
    if len(set(told)) < 2:
        shown = [[name for k, name in enumerate(images.structures, 1) if k in own] for own in images.maps[chosen]]
        told = [", ".join(names) or "nothing outlined" for names in shown]
    return told if len(set(told)) > 1 else []


def image_channels(images: LabelledSet, task: FoldTask) -> int:
    """Return the number of channels of the fold's images, which is 1 if its training images are grey."""
    return pixels.choose_channels(images.cache.images[task.plan.train(task.fold)], task.experiment.generator.channels)


def take_pairs(images: LabelledSet, chosen: NDArray[np.int64], channels: int) -> Pairs:
    """Return some of the real pairs, with 1 or 3 channels."""
    return Pairs(pixels.prepare_images(images.cache.images[chosen], images.cache.size, channels), images.maps[chosen])
