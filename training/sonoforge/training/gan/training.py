"""One training made ready: everything that was left open decided, checked and opened.

`prepare` is the one way from settings to `engine.train_gan`.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonoforge.runtime.atomic import plain
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.datasets import UNNAMED
from sonoforge.training.devices import open_fabric
from sonoforge.training.evaluation.features import Features, open_features
from sonoforge.training.evaluation.spaces import PLAIN, Space, choose_space, network_space, open_space
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.networks import Samples, Seen, generator_options, outline_networks
from sonoforge.training.gan.options import PRECISIONS, GanSettings
from sonoforge.training.gan.recipes import Recipe
from sonoforge.training.gan.sampling import AffineRanges
from sonoforge.training.gan.settings import Plan, compose, make_plan, measures_in_features
from sonoforge.training.gan.start_from import StartingWeights, read_starting_weights
from sonoforge.training.gan.training_set import (
    TrainingSet,
    check_enough_images,
    expand,
    expand_classes,
    hold_out,
)
from sonoforge.training.gan.transfer import check_transfer, freeze, with_classes

log = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.1  # of the images, where metrics are measured and no share was given
MOST_MAPS = 1024  # label maps that a generator which draws into them keeps at most: 6 MB at 128x128 and 3 structures


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
    """The networks and files that settings name, opened; trainings may share them."""

    features: Features | None = None  # network of the perceptual term, or that a projected discriminator sees through
    space: Space | None = None  # feature space of the metrics; None: `prepare` chooses one that suits the images
    start_from: StartingWeights | None = None  # weights that the training starts from

    def record(self, settings: GanSettings) -> dict[str, Any]:
        """Return settings as run folders and checkpoints keep them: networks and files by name and hash."""
        values = dataclasses.asdict(settings)
        del values["metric_weights"]  # their hash is in the name of the space
        return values | {
            "features": self.features.name if self.features else "",
            "metric_features": self.space.name if self.space else "",
            "start_from": self.start_from.name if self.start_from else "",
            "held_out": settings.held_out or 0.0,
        }


def open_pretrained(settings: GanSettings, device: str = "auto") -> Pretrained:
    """Open what the settings name.

    The metrics are measured in ``metric_features``, else in the network of the perceptual term, if there is one.

    Raises:
        SonoforgeError: A network or file that cannot be opened, or a device that does not exist.
    """
    target = open_fabric(device, PRECISIONS[settings.precision]).device
    features = open_features(settings.features, target) if settings.features else None
    space = None
    if settings.measured and settings.metric_weights and not settings.metric_features:
        raise SonoforgeError(
            f"metric_weights: found {settings.metric_weights} without metric_features, expected both; name the space "
            "that the weights are of"
        )
    if settings.measured and settings.metric_features:
        space = open_space(settings.metric_features, settings.metric_weights or None, target)
    elif settings.measured and features is not None and measures_in_features(settings):
        space = network_space(features)
    start_from = read_starting_weights(Path(settings.start_from)) if settings.start_from else None
    return Pretrained(features, space, start_from)


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """What `engine.train_gan` works from; made by `prepare`."""

    settings: GanSettings  # filled in
    device: str  # `auto`, `cpu`, `cuda` or `cuda:N`; under `torchrun` all processes work on one training
    recipe: Recipe  # with all settings applied
    plan: Plan  # for how long, and in which batches
    options: Mapping[str, Any]  # of the generator, see `networks.generator_options`
    pretrained: Pretrained
    originals: TrainingSet  # the images trained on, before any expansion but that of whole classes
    held_out: TrainingSet | None  # the images that the metrics are measured against; None: those trained on
    # Steps after which it pauses as if interrupted, to be resumed, and whose checkpoints are never removed.
    milestones: tuple[int, ...] = ()

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
        """What a projected discriminator sees images through; None where no feature network is named."""
        features = self.pretrained.features
        return None if features is None else Seen(features, self.originals.image_channels)

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
            generator_options=dict(self.options),
            image_channels=self.images.image_channels,
            class_name=self.settings.class_name,
            classes=list(self.images.classes) if self.conditional else [],
            fingerprint=self.images.fingerprint,
            settings=plain(self.pretrained.record(self.settings)),
            composition=dataclasses.asdict(self.recipe),
            structures=[] if self.images.structures == (UNNAMED,) else list(self.images.structures),
            images=gan_checkpoint.digest_of_images(self.originals.sources.values()),
        )

    def changed(self, **changes: Any) -> Training:
        """Return the same training with other settings of its length, its ticks or its metrics."""
        settings = dataclasses.replace(self.settings, **changes)
        plan = make_plan(settings, len(self.originals) * settings.expand)
        return dataclasses.replace(self, settings=settings, plan=plan)

    def of_length(self, steps: int) -> Training:
        """Return the same training with another number of steps."""
        return self.changed(steps=steps, kimg=None, epochs=None)


def prepare(
    settings: GanSettings,
    images: TrainingSet,
    device: str = "auto",
    pretrained: Pretrained | None = None,
    held_out_seed: int | None = None,
) -> Training:
    """Fill in what the settings leave open, hold images out, and refuse what cannot be trained.

    Args:
        settings: As the user gave them; where ``held_out`` is None and metrics are measured, a tenth is held out where
            that leaves enough images on both sides.
        images: What to learn, at the size of the plan.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        pretrained: What the settings name, opened before; None: it is opened.
        held_out_seed: Of the choice of what is held out; None: the settings' own.  With one, trainings of many seeds
            hold out the same.

    Raises:
        SonoforgeError: Settings that do not go together, too few images, or networks and weights that cannot be opened
            or do not fit.
    """
    settings = dataclasses.replace(settings, metrics=settings.measured)
    recipe = compose(settings)
    pretrained = open_pretrained(settings, device) if pretrained is None else pretrained
    seed = settings.seed if held_out_seed is None else held_out_seed
    images = expanded(images, settings, seed)
    originals, held_out = _hold_out(images, settings, seed)
    if settings.held_out is None:
        settings = dataclasses.replace(settings, held_out=0.0 if held_out is None else HELD_OUT_SHARE)
    count = len(originals) * settings.expand
    plan = make_plan(settings, count)
    check_enough_images(count, originals.classes, plan.batch)
    options = options_of_generator(originals, recipe, plan, settings.accumulate)
    pretrained = _fitting(pretrained, settings, images, device, originals.classes if options["classes"] else ())
    training = Training(settings, device, recipe, plan, options, pretrained, originals, held_out)
    networks = outline_networks(recipe, options, training.seen)
    freeze(networks[0], settings.freeze_generator)
    check_transfer(pretrained.start_from, settings.freeze_discriminator, recipe.architecture, networks)
    return training


def expanded(images: TrainingSet, settings: GanSettings, seed: int) -> TrainingSet:
    """Return the images before any are held out, each class expanded where the settings ask for it."""
    return expand_classes(images, settings.expand_to, AffineRanges(), seed) if settings.expand_to else images


def _hold_out(images: TrainingSet, settings: GanSettings, seed: int) -> tuple[TrainingSet, TrainingSet | None]:
    """Hold out the share that was asked for, else a tenth where that leaves enough images on both sides.

    Too few to hold some out is said in the log, and in every row of ``stats.jsonl`` and the results, which call
    their reference ``training``.
    """
    if settings.held_out is not None:
        return hold_out(images, settings.held_out, seed)
    if not settings.metrics:
        return images, None
    try:
        kept, held_out = hold_out(images, HELD_OUT_SHARE, seed)
    except SonoforgeError as error:
        reason = str(error)
    else:
        left = len(kept) * settings.expand
        batch = make_plan(settings, left).batch
        if left >= batch:
            return kept, held_out
        reason = f"it would leave {left} for a batch of {batch}; give --batch {left} or --held-out 0"
    log.warning("nothing is held out, so the metrics are measured against the training images: %s", reason)
    return images, None


def _fitting(
    pretrained: Pretrained, settings: GanSettings, images: TrainingSet, device: str, classes: tuple[str, ...]
) -> Pretrained:
    """Choose the feature space of the metrics, where none is named, and give weights the order of these classes."""
    space = pretrained.space
    if settings.metrics and space is None:
        space = open_space(
            suited_space(images, PLAIN), None, open_fabric(device, PRECISIONS[settings.precision]).device
        )
    return dataclasses.replace(pretrained, space=space, start_from=with_classes(pretrained.start_from, classes))


def suited_space(images: TrainingSet, otherwise: str = "") -> str:
    """Name the feature space of the metrics where the user names none; see `spaces.choose_space`."""
    originals = images.pixels[..., : images.image_channels] if images.originals is None else images.originals
    return choose_space(list(originals), images.name or "the training images", "--metric-features", otherwise)


def options_of_generator(images: TrainingSet, recipe: Recipe, plan: Plan, accumulate: int) -> Mapping[str, Any]:
    """Return the arguments that build the generator of a training on these images.

    Raises:
        SonoforgeError: A conditional recipe and images of one class, or a shape model of several structures.
    """
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
