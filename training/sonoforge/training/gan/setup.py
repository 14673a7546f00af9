"""A training made ready: its job and its images, with everything that was left open decided and checked."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from pathlib import Path
from typing import Any

from sonoforge.runtime.atomic import plain
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.data.changed_images import check_unchanged
from sonoforge.training.data.datasets import UNNAMED
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.augmentations.affine import AffineRanges
from sonoforge.training.gan.batches.expansion import expand
from sonoforge.training.gan.batches.training_set import TrainingSet, check_enough_images, hold_out
from sonoforge.training.gan.class_transfer import with_classes
from sonoforge.training.gan.job import GanJob
from sonoforge.training.gan.networks import Samples, Seen, discriminator_of, generator_options, outline_networks
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes.row import Recipe
from sonoforge.training.gan.settings import NOT_COMPARED, Plan, compose, make_plan
from sonoforge.training.gan.transfer import check_transfer, freeze

log = logging.getLogger(__name__)

MOST_MAPS = 1024  # label maps that a generator which draws into them keeps at most: 6 MB at 128x128 and 3 structures
SOURCES = "images.json"
"""Content hash of each image file that a training is of, by path."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSetup:
    """What `engine.train_gan` works from."""

    job: GanJob
    recipe: Recipe  # with all settings applied
    plan: Plan  # for how long, and in which batches
    options: dict[str, Any]  # of the generator, see `networks.generator_options`
    originals: TrainingSet  # the images trained on, before any expansion
    held_out: TrainingSet | None  # the images that the metrics are measured against; None: those trained on

    @property
    def settings(self) -> GanSettings:
        """Of the job."""
        return self.job.settings

    @property
    def conditional(self) -> bool:
        """Whether the networks are given labels."""
        return bool(self.options["classes"] > 0)

    @property
    def images_per_step(self) -> int:
        """Real images shown in one step."""
        return self.plan.batch * self.recipe.n_critic

    @property
    def seen(self) -> Seen | None:
        """What a projected discriminator sees images through."""
        return what_is_seen(self.job, self.originals)

    @functools.cached_property
    def images(self) -> TrainingSet:
        """The images trained on, with their distorted copies."""
        return expand(self.originals, self.settings.expand, AffineRanges(), self.settings.seed)

    @functools.cached_property
    def description(self) -> gan_checkpoint.Description:
        """What every checkpoint says, at step 0."""
        return gan_checkpoint.Description(
            step=0,
            recipe=self.settings.recipe,
            architecture=self.recipe.architecture,
            generator_options=self.options,
            image_channels=self.images.image_channels,
            class_name=self.settings.class_name,
            classes=list(self.images.classes) if self.conditional else [],
            fingerprint=self.images.fingerprint,
            settings=plain(self.job.record()),
            composition=dataclasses.asdict(self.recipe),
            structures=[] if self.images.structures == (UNNAMED,) else list(self.images.structures),
        )


def set_up(images: TrainingSet, job: GanJob) -> TrainingSetup:
    """Fill in what the job leaves to the recipe, hold images out, and refuse what cannot be trained.

    Raises:
        SonoforgeError: Settings that do not go together, too few images, or weights that do not fit.
    """
    settings = job.settings
    recipe = compose(settings)
    if settings.metrics and job.space is None:
        raise SonoforgeError(f"metric_features: found none, expected a feature space for {', '.join(settings.metrics)}")
    if recipe.perceptual_weight and job.features is None:
        raise SonoforgeError("features: found none, expected the network of the perceptual term")
    seed = settings.seed if job.held_out_seed is None else job.held_out_seed
    originals, held_out = hold_out(images, settings.held_out or 0.0, seed)
    count = len(originals) * settings.expand
    plan = make_plan(settings, count)
    check_enough_images(count, originals.classes, plan.batch)
    options = _generator_options(originals, recipe, plan, settings.accumulate)
    networks = outline_networks(recipe, options, what_is_seen(job, originals))
    freeze(networks[0], settings.freeze_generator)
    job = dataclasses.replace(
        job, start_from=with_classes(job.start_from, originals.classes if options["classes"] else ())
    )
    check_transfer(job.start_from, settings.freeze_discriminator, recipe.architecture, networks)
    return TrainingSetup(job, recipe, plan, options, originals, held_out)


def _is_related(space: str, network: str) -> bool:
    """Whether a feature space is of this network, or of a bundle, whose classifier began as a MobileNetV2."""
    kind = network.partition(" ")[0]
    return kind in space or (space.startswith("bundle") and kind == "mobilenet_v2")


def what_is_seen(job: GanJob, images: TrainingSet) -> Seen | None:
    """Return what a projected discriminator sees images through; None where no feature network is named."""
    return None if job.features is None else Seen(job.features, images.image_channels)


def _generator_options(images: TrainingSet, recipe: Recipe, plan: Plan, accumulate: int) -> dict[str, Any]:
    classes = 0
    if recipe.conditioning != "none":
        classes = 0 if images.labels is None else len(images.classes)
        if classes < 2:
            raise SonoforgeError(
                f"conditioning: found {recipe.conditioning} with images of one class, expected several classes; leave "
                "class_name out, or use conditioning none"
            )
    structures = images.pixels.shape[3] - images.image_channels
    if recipe.draws_into_maps and recipe.kept_maps == "shapes" and structures != 1:
        raise SonoforgeError(
            f"kept_maps: found shapes with {structures} structures, expected one: the shape model is of one outline; "
            "use kept_maps training"
        )
    kept = MOST_MAPS if recipe.kept_maps == "shapes" else min(len(images), MOST_MAPS)
    samples = Samples(plan.image_size, images.image_channels, structures, classes, kept)
    return generator_options(recipe, samples, plan.batch // accumulate)


def newest_checkpoint(folder: Path, setup: TrainingSetup, *, resume: bool) -> Path | None:
    """Return the newest checkpoint that an earlier call left in the folder, or None.

    Raises:
        SonoforgeError: The folder holds another training; or this one, unfinished and not to be resumed.
    """
    found = gan_checkpoint.list_checkpoints(folder / "checkpoints")
    if not found:
        return None
    if setup.originals.sources:
        check_unchanged(str(folder), _read_sources(folder / SOURCES), setup.originals.sources)
    before, now = gan_checkpoint.describe(found[-1]), setup.description
    keys = [key for key in now.settings if before.settings.get(key) != now.settings[key] and key not in NOT_COMPARED]
    if keys:
        changed = ", ".join(f"{key} was {before.settings.get(key)!r}, is {now.settings[key]!r}" for key in keys)
        raise SonoforgeError(f"{folder}: holds a training with other settings ({changed}); choose another folder")
    if before.fingerprint != now.fingerprint:
        raise SonoforgeError(f"{folder}: holds a training on other images, or masks; choose another folder")
    if not resume and not run_folder.is_finished(folder):
        raise SonoforgeError(f"{folder}: holds an unfinished training; resume it or choose another folder")
    return found[-1]


def _read_sources(path: Path) -> dict[str, str]:
    try:
        sources: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SonoforgeError(
            f"{path}: cannot be read ({error}), so nothing says which images this training is of; leave --resume out "
            "to start again"
        ) from error
    return sources


def log_setup(setup: TrainingSetup) -> None:
    """Log what will be trained, and for how long."""
    settings, recipe, plan = setup.settings, setup.recipe, setup.plan
    count, height, width, channels = setup.images.pixels.shape
    turns = f"{recipe.n_critic} x " if recipe.n_critic > 1 else ""
    log.info(
        "training %s on %d images at %dx%dx%d: %d steps of %s%d images (%.3g epochs), learning rates %g and %g",
        settings.recipe, count, height, width, channels, plan.steps, turns, plan.batch,
        plan.steps * setup.images_per_step / count,
        recipe.generator_optimiser.learning_rate, recipe.discriminator_optimiser.learning_rate,
    )  # fmt: skip
    features, space = setup.job.features, setup.job.space
    projected = discriminator_of(recipe).projected
    if features is not None and (projected or recipe.perceptual_weight):
        log.info("feature network: %s", features.name)
        if projected and space is not None and _is_related(space.name, features.name):
            log.warning(
                "the metrics are measured in %s, and the discriminator sees images through %s: that flatters them; "
                "--metric-features names another space", space.short_name, features.name.partition(" ")[0],
            )  # fmt: skip
    if settings.freeze_generator and setup.job.start_from is None:
        log.warning("blocks of the generator are frozen at their random initial weights: they learn nothing")
    if settings.freeze_discriminator and setup.job.start_from is None:
        log.warning("blocks of the discriminator are frozen at their random initial weights: they learn nothing")
