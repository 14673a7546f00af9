"""Prepare a training run: decide what was left open, check and open everything.

`prepare` is the only way from settings to `engine.train_gan`.
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
from sonoforge.training import own_code
from sonoforge.training.data.datasets import UNNAMED
from sonoforge.training.devices import find_device
from sonoforge.training.evaluation.features import Features, open_features
from sonoforge.training.evaluation.spaces import PLAIN, Space, choose_space, network_space, open_space
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.losses import find_loss
from sonoforge.training.gan.networks import Seen, build_networks, find_architecture, outline_networks
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.own_networks import check_answers
from sonoforge.training.gan.recipes import Recipe, short_name
from sonoforge.training.gan.settings import Plan, compose, make_plan, measures_in_features
from sonoforge.training.gan.start_from import StartingWeights, check_transfer, read_starting_weights, suited
from sonoforge.training.gan.training_set import (
    TrainingSet,
    check_enough_images,
    expand,
    expand_classes,
    hold_out,
)

log = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.1  # of the images, where metrics are measured and no share was given
MOST_MAPS = 1024  # most label maps that a generator keeps: 6 MB at 128x128 and 3 structures


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
    """The settings' networks and files, opened; training runs may share them."""

    features: Features | None = None  # network of the perceptual term, or of a projected discriminator
    space: Space | None = None  # feature space of the metrics; None: `prepare` chooses one to suit the images
    start_from: StartingWeights | None = None  # weights that the training starts from

    def record(self, settings: GanSettings) -> dict[str, Any]:
        """Return settings as run folders and checkpoints record them, with networks and files by name and hash."""
        values = dataclasses.asdict(settings)
        del values["metric_weights"]  # the name of the space contains their hash
        return values | {
            "recipe": Path(settings.recipe).name,  # own code has a hash
            "features": self.features.name if self.features else "",
            "metric_features": self.space.name if self.space else "",
            "start_from": self.start_from.name if self.start_from else "",
            "held_out": settings.held_out or 0.0,
        }


def open_pretrained(settings: GanSettings, device: str = "auto") -> Pretrained:
    """Open the settings' networks and files.

    Metrics use ``metric_features``, or else the network of the perceptual term, if any.

    Raises:
        SonoforgeError: A network or file cannot be opened, or the device does not exist.
    """
    target = find_device(device)
    features = open_features(settings.features, target) if settings.features else None
    space = None
    if settings.measured and settings.metric_weights and not settings.metric_features:
        raise SonoforgeError(
            f"metric_weights: {settings.metric_weights} requires metric_features, the feature space of the weights"
        )
    if settings.measured and settings.metric_features:
        space = open_space(settings.metric_features, settings.metric_weights or None, target)
    elif settings.measured and features is not None and measures_in_features(settings):
        space = network_space(features)
    start_from = read_starting_weights(settings.start_from) if settings.start_from else None
    return Pretrained(features, space, start_from)


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """The input of `engine.train_gan`, made by `prepare`."""

    settings: GanSettings  # filled in
    device: str  # `auto`, `cpu`, `cuda` or `cuda:N`
    recipe: Recipe  # with all settings applied
    plan: Plan  # for how long, and in which batches
    options: Mapping[str, Any]  # arguments that build the generator, as checkpoints record them
    pretrained: Pretrained
    originals: TrainingSet  # the training images, after the expansion of whole classes but before that of single images
    held_out: TrainingSet | None  # images to measure the metrics against; None: the training images
    # Steps after which it pauses as if interrupted; their checkpoints are never removed.
    milestones: tuple[int, ...] = ()

    @property
    def conditional(self) -> bool:
        """Whether the networks take labels."""
        return bool(self.options["classes"] > 0)

    @property
    def learning(self) -> tuple[str, ...]:
        """The networks that learn, by name: without a discriminator only the generator."""
        return ("generator",) if find_loss(self.recipe.loss).velocity else ("generator", "discriminator")

    @property
    def images_per_step(self) -> int:
        """Real images shown in one step."""
        return self.plan.batch * self.recipe.n_critic

    @property
    def seen(self) -> Seen | None:
        """The feature network that a projected discriminator sees images through, or None."""
        features = self.pretrained.features
        return None if features is None else Seen(features, self.originals.image_channels)

    @functools.cached_property
    def images(self) -> TrainingSet:
        """The training images with their distorted copies."""
        return expand(self.originals, self.settings.expand, self.settings.seed)

    @functools.cached_property
    def description(self) -> gan_checkpoint.Description:
        """The content of every checkpoint's description, at step 0."""
        return gan_checkpoint.Description(
            step=0,
            recipe=short_name(self.settings.recipe),
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

    @property
    def checkpoint_bytes(self) -> int:
        """About how many bytes the checkpoints take: both networks, the average, and two moments of each parameter."""
        networks = outline_networks(self.recipe, self.options, self.seen)
        one, other = (sum(own.numel() for own in network.parameters() if own.requires_grad) for network in networks)
        return 4 * gan_checkpoint.KEPT * (4 * one + 3 * other)

    def changed(self, **changes: Any) -> Training:
        """Return the same training with other settings for length, ticks or metrics."""
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
        settings: The user's settings. If ``held_out`` is None and metrics are measured, a tenth is held out if that
            leaves enough images on both sides.
        images: The images to learn, at the size of the plan.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        pretrained: From `open_pretrained`; opened here if None.
        held_out_seed: Seed of the held-out split; the settings' own if None.  Runs of several seeds share a split.

    Raises:
        SonoforgeError: Settings do not fit together, there are too few images, or networks and weights cannot be opened
            or do not fit.
    """
    recipe_name = own_code.find(settings.recipe).pinned if own_code.is_own(settings.recipe) else settings.recipe
    settings = dataclasses.replace(settings, metrics=settings.measured, recipe=recipe_name)
    recipe = compose(settings)
    pretrained = open_pretrained(settings, device) if pretrained is None else pretrained
    seed = settings.seed if held_out_seed is None else held_out_seed
    images = expand_classes(images, settings.expand_to, seed)  # before any are held out
    originals, held_out = _hold_out(images, settings, seed)
    if settings.held_out is None:
        settings = dataclasses.replace(settings, held_out=0.0 if held_out is None else HELD_OUT_SHARE)
    count = len(originals) * settings.expand
    plan = make_plan(settings, count)
    check_enough_images(count, originals.classes, plan.batch)
    options = options_of_generator(originals, recipe, plan)
    space = pretrained.space
    if settings.metrics and space is None:
        space = open_space(suited_space(images, PLAIN), None, find_device(device))
    start_from = pretrained.start_from
    if start_from is not None:
        start_from = suited(start_from, options, originals.classes, settings.class_name)
    pretrained = dataclasses.replace(pretrained, space=space, start_from=start_from)
    training = Training(settings, device, recipe, plan, options, pretrained, originals, held_out)
    networks = outline_networks(recipe, options, training.seen)
    if start_from is not None:
        check_transfer(start_from, recipe.architecture, networks)
    if own_code.is_own(recipe.architecture):
        own, _ = own_code.run(recipe.architecture)
        check_answers(own, build_networks(recipe, options, 0), {**options, "conditioning": recipe.conditioning})
    return training


def _hold_out(images: TrainingSet, settings: GanSettings, seed: int) -> tuple[TrainingSet, TrainingSet | None]:
    """Hold out the given share, or else a tenth if that leaves enough images on both sides; log if it does not."""
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
        reason = f"it would leave {left} for a batch of {batch}; give --set gan.batch={left} or gan.held_out=0"
    log.warning("nothing is held out, so the metrics are measured against the training images: %s", reason)
    return images, None


def suited_space(images: TrainingSet, otherwise: str = "") -> str:
    """Return the metrics' default feature space for these images, see `spaces.choose_space`."""
    originals = images.pixels[..., : images.image_channels] if images.originals is None else images.originals
    return choose_space(list(originals), images.name or "the training images", "--set gan.metric_features", otherwise)


def options_of_generator(images: TrainingSet, recipe: Recipe, plan: Plan) -> Mapping[str, Any]:
    """Return the arguments that build the generator of a training run on these images.

    Raises:
        SonoforgeError: The recipe is conditional, but the images have one class.
    """
    classes = 0
    if recipe.conditioning != "none":
        classes = 0 if images.labels is None else len(images.classes)
        if classes < 2:
            raise SonoforgeError(
                f"conditioning: {recipe.conditioning} requires images of several classes; leave class_name out, or use "
                "conditioning none"
            )
    channels = images.pixels.shape[3]
    structures = channels - images.image_channels
    return {
        "image_size": plan.image_size,
        "channels": channels,
        **({"latent_size": recipe.latent_size} if recipe.latent_size else {}),
        "classes": classes,
        **({"masks": structures} if find_architecture(recipe.architecture).velocity and structures else {}),
        **({"structures": structures, "maps": min(len(images), MOST_MAPS)} if recipe.draws_into_maps else {}),
        **find_architecture(recipe.architecture).batch_options(plan.batch),
        **recipe.generator,
    }
