"""``sonoforge crossval``: does a trained generator help?  k folds, every arm on the same folds and seeds."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from sonoforge.runtime.cli.options import Outcome, flatten
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.classifier.options import ClassifierOptions
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.crossval.arms import check_arms, find_arm, with_shares
from sonoforge.training.crossval.choice_grid import Choosing, check_arms_choose, check_not_given, read_choosing
from sonoforge.training.crossval.comparison import compare
from sonoforge.training.crossval.fold_task import ComparisonSettings
from sonoforge.training.crossval.generators import GENERATOR_BUDGETS
from sonoforge.training.crossval.kept_folds import check_finished, check_images
from sonoforge.training.data.data_option import PHANTOM, data_flags
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.split_plan import LEAVE_ONE_OUT
from sonoforge.training.data.splits import FOLDS
from sonoforge.training.devices import find_device
from sonoforge.training.gan.job import open_job
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.settings import compose, fill_budget, given_lengths, measures_in_features
from sonoforge.training.pages.terminal.comparison import log_figures, log_table
from sonoforge.training.statistics.predictions import Predictions, read_predictions
from sonoforge.training.statistics.results import ComparisonResults
from sonoforge.training.statistics.tables import evaluate
from sonoforge.training.tasks.ray_cluster import check_cluster
from sonoforge.training.verbs.settings.crossval import ComparisonConfig, CrossvalConfig

log = logging.getLogger(__name__)


ConfigType = TypeVar("ConfigType", bound=ComparisonConfig)

# The built-in demonstration ends in minutes and needs no network.
PHANTOM_FOLDS, PHANTOM_GAN_STEPS, PHANTOM_CLASSIFIER = 5, 60, {"epochs": 6, "members": 1}
HELD_OUT = 0.1
"""Share of a training fold that the best checkpoint of its generators is chosen on."""


def main(config: CrossvalConfig) -> Outcome:
    """Run the comparison in a run folder and write its tables; or print those of a ``predictions.csv`` again."""
    if config.from_predictions:
        return _print_again(config)
    config = fill_defaults(config)
    settings = resolve_settings(config)
    source = ImageSource(
        config.data, config.images, config.seed, config.storage.open(), settings.classifier.preprocessing
    )
    cache = load_images(source)
    check_arms("--arms", settings.arms, cache.dataset.classes, cache.class_counts)
    chosen = {key: value for key, value in flatten(config).items() if key != "from_predictions"}
    folder = run_folder.open_run(Path(config.out), f"crossval-{cache.dataset.name}", chosen, resume=config.resume)
    with run_folder.working_in(folder):
        check_images(folder, cache)
        if run_folder.is_finished(folder):
            check_finished(folder, settings)
            results = cast(ComparisonResults, run_folder.read_results(folder))
        else:
            results = compare(folder, source, cache, settings).results
            run_folder.write_results(folder, results)
        log_table(results)
    return Outcome({"run": str(folder), **results}, f"sonoforge run {data_flags(config.data)}")


def _print_again(config: CrossvalConfig) -> Outcome:
    """Compute every figure from the predictions alone."""
    parts, classes = read_again(config)
    evaluation = evaluate(parts, classes)
    log_figures(classes, evaluation)
    return Outcome({"classes": list(classes), **evaluation})


def read_again(config: Any) -> tuple[list[Predictions], tuple[str, ...]]:
    """Read the predictions that ``from_predictions`` of a verb's settings names.

    Raises:
        SonoforgeError: Another setting is given, too, or the file is no such table.
    """
    if dataclasses.replace(config, from_predictions="") != type(config)():
        raise SonoforgeError("--from: found other settings beside it, expected none: the file alone makes the tables")
    return read_predictions(Path(config.from_predictions))


def fill_defaults(config: ConfigType) -> ConfigType:
    """Fill in what the user left open and what depends on the data; the budget fills in the rest later.

    Raises:
        SonoforgeError: A setting is given that is to be chosen.
    """
    check_not_given(config.choose, config.classifier)
    phantom, quick = config.data == PHANTOM, config.classifier.budget == "quick"
    weights = "shipped" if phantom else "imagenet"
    classifier = _filled(config.classifier, {"weights": weights} | (PHANTOM_CLASSIFIER if phantom and quick else {}))
    generator = config.generator
    if phantom and quick and not given_lengths(generator):
        generator = dataclasses.replace(generator, steps=PHANTOM_GAN_STEPS)
    default = {"single": 1, LEAVE_ONE_OUT: None}.get(config.protocol, PHANTOM_FOLDS if phantom else FOLDS)
    folds = config.folds or default
    return dataclasses.replace(config, folds=folds, classifier=classifier, generator=generator)


def resolve_settings(config: ComparisonConfig) -> ComparisonSettings:
    """Turn a config with its defaults filled in into settings; all that can be refused before a fold is run, is.

    Raises:
        SonoforgeError: An unknown arm, no arm, a device that does not exist, or generator settings that do not go
            together.
    """
    arms = with_shares(config.arms, config.real_shares)
    if not arms or len(set(arms)) != len(arms):
        raise SonoforgeError(f"--arms: found {','.join(arms) or 'nothing'}, expected each arm once")
    if config.protocol != "sealed" and any(find_arm(name).real_share != 1 for name in arms):
        raise SonoforgeError(
            f"--protocol {config.protocol}: found arms with a share of the real images, which need sealed; leave "
            "--real-shares out"
        )
    _check_folds(config)
    check_cluster(config.cluster, config.device)
    choosing = _resolve_choosing(config, arms)
    find_device(config.device)
    generator = _resolve_generator(config)
    compose(generator)
    open_job(generator, config.device)
    return ComparisonSettings(
        arms=arms,
        protocol=config.protocol,
        folds=config.folds,
        seeds=tuple(range(config.seed, config.seed + config.seeds)),
        budget=config.classifier.budget,
        weights=config.classifier.weights or "imagenet",
        classifier=_watching(config.classifier.settings(), config.test_curves),
        generator=generator,
        device=config.device,
        jobs=config.jobs,
        cluster=config.cluster,
        comparator_weights=config.comparator_weights,
        choosing=choosing,
    )


def _resolve_choosing(config: ComparisonConfig, arms: Sequence[str]) -> Choosing | None:
    choosing = read_choosing(config.choose, config.inner_folds)
    if choosing is None:
        if config.inner_folds != ComparisonConfig().inner_folds:
            raise SonoforgeError(f"--inner-folds: found {config.inner_folds}, but nothing to choose; add --choose")
        return None
    if config.protocol != "sealed":
        raise SonoforgeError(
            f"--choose: found it under --protocol {config.protocol}, expected sealed, whose training folds are divided "
            "again by group"
        )
    check_arms_choose(choosing, arms)
    return choosing


def _check_folds(config: ComparisonConfig) -> None:
    if config.folds and config.protocol == LEAVE_ONE_OUT:
        raise SonoforgeError(
            f"--folds: found {config.folds} under --protocol {LEAVE_ONE_OUT}, which has one a collection"
        )
    if config.folds and (config.folds == 1) != (config.protocol == "single"):
        raise SonoforgeError(
            f"--folds: found {config.folds} under --protocol {config.protocol}, expected 1 under single (one split), "
            "at least 2 under sealed and thesis; leave it out, or repeat the split with --seeds"
        )


def _watching(settings: ClassifierSettings, test_curves: bool) -> ClassifierSettings:
    return dataclasses.replace(settings, test_curves=settings.test_curves or test_curves)


def _resolve_generator(config: ComparisonConfig) -> GanSettings:
    """Fill in the budget; a duration that was given replaces the budget's."""
    defaults = GENERATOR_BUDGETS[config.classifier.budget]
    if config.generator.preset != PUBLISHED:  # whose learning rates are for its own batch
        defaults = {key: value for key, value in defaults.items() if key != "batch"}
    generator = _published_channels(fill_budget(config.generator, defaults), defaults)
    generator = _filled(generator, {"image_size": compose(generator).image_size})
    if config.gan_checkpoint == "best":
        # The shipped bundle was trained on images that are test images here.
        if not measures_in_features(generator) and generator.metric_features.partition(":")[0] in ("", "bundle"):
            raise SonoforgeError(
                "--gan-checkpoint best: KID needs a network that has seen no test image; give --gan-features FILE or "
                "vgg16, or --gan-metric-features inception"
            )
        return _filled(dataclasses.replace(generator, metrics=("kid",)), {"held_out": HELD_OUT})
    unmeasured = GanSettings()
    for name in ("every", "metric_features", "metric_weights", "held_out", "stop_after"):
        if getattr(generator, name) != getattr(unmeasured, name):
            raise SonoforgeError(
                f"--gan-{name.replace('_', '-')}: found {getattr(generator, name)}, but nothing is measured; add "
                "--gan-checkpoint best"
            )
    return generator


def _published_channels(generator: GanSettings, defaults: dict[str, Any]) -> GanSettings:
    """Give the budget's own recipe the channels that it was published with, unless a number of them was given."""
    if generator.recipe != defaults.get("recipe") or generator.channels != GanSettings().channels:
        return generator
    return dataclasses.replace(generator, channels=defaults["channels"])


Settings = TypeVar("Settings", GanSettings, ClassifierOptions)


def _filled(settings: Settings, defaults: dict[str, Any]) -> Settings:
    """Fill in the settings that are None."""
    return dataclasses.replace(
        settings, **{key: value for key, value in defaults.items() if getattr(settings, key) is None}
    )
