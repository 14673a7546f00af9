"""``sonoforge tune``: search each recipe's settings for the lowest KID, with Optuna.

As Thakur and Thakur do for six GANs on three modalities (optimiser, batch renormalisation, architecture; about a
hundred configurations for each model and data set).  KID is measured on held-out images; the best of many trials is
optimistic on these, so the page also has its KID on images that no trial has read.
"""

import dataclasses
import logging
from pathlib import Path

from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.architecture_search.results import Searched, train_command
from sonoforge.training.architecture_search.settings import SettingsSearch, possible_space, trial_settings, tried
from sonoforge.training.architecture_search.space import Parameter, describe, read_search, recipe_space, with_values
from sonoforge.training.architecture_search.study import FILE, Study, Trial, open_storage
from sonoforge.training.architecture_search.trial import Opened, Rules, Source
from sonoforge.training.data.data_option import data_flags
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.settings import compose
from sonoforge.training.reports.search import About
from sonoforge.training.verbs import searching
from sonoforge.training.verbs.settings.gan import TuneConfig
from sonoforge.training.workers.ray_cluster import check_cluster

log = logging.getLogger(__name__)
METRIC = "kid"


def main(config: TuneConfig) -> Outcome:
    """Do the trials that are missing, and write table and page anew after each."""
    check_cluster(config.cluster, config.device)
    config = dataclasses.replace(config, pruner=config.pruner or ("median",))
    recipes = _prepare(config)
    first = recipes[0][1]
    about = _about(config, first)
    with searching.open_folder("tune", config, first) as folder:
        storage = open_storage(folder / FILE)
        rules = Rules(config.gan.seed, METRIC, config.pruner or (), config.trial_minutes)
        planned = []
        for source, opened, space in recipes:
            strategy = SettingsSearch(opened.settings.recipe, space, config.trials, config.sampler, config.gan.seed)

            def settings(trial: Trial, opened: Opened = opened) -> GanSettings:
                return trial_settings(opened, trial.study, trial.number, tried(trial))

            planned.append(searching.Planned(Study(storage, strategy), source, opened, rules, settings))
        with searching.open_trials(folder, config, about, [own.study for own in planned]) as trials:
            trials.carry_out(planned)
        return searching.conclude(folder, [_result(folder, config, own) for own in planned], about)


def _prepare(config: TuneConfig) -> list[tuple[Source, Opened, tuple[Parameter, ...]]]:
    """Open images and networks of each recipe, and refuse what cannot be trained, before there is a folder."""
    if len(set(config.recipes)) < len(config.recipes):
        raise SonoforgeError(f"--recipes: found {','.join(config.recipes)}, expected different recipes")
    composed = [compose(dataclasses.replace(config.gan, recipe=recipe)) for recipe in config.recipes]
    narrowed = read_search(config.search, config.gan, composed)
    recipes = []
    for recipe in config.recipes:
        source, opened = searching.open_images(config, dataclasses.replace(config.gan, recipe=recipe))
        space = possible_space(opened, recipe_space(opened.recipe, source.settings, narrowed))
        recipes.append((source, opened, space))
        log.info("%s: searched are %s", recipe, ", ".join(map(describe, space)))
    return recipes


def _result(folder: Path, config: TuneConfig, own: searching.Planned) -> Searched:
    """Return what a recipe's study has found: its best measured anew, its command, and what mattered."""
    found, best = searching.measured_anew(folder, own), own.study.best
    try:
        found = dataclasses.replace(found, importances=own.study.importances(config.gan.seed))
    except SonoforgeError as error:
        log.warning("%s", error)
        found = dataclasses.replace(found, no_importances=str(error).partition(": ")[2])
    if best is None:
        return found
    settings = with_values(own.opened.settings, own.opened.recipe, tried(best))
    if not config.gan.metric_features:
        settings = dataclasses.replace(settings, metric_features="")
    return dataclasses.replace(found, command=train_command(data_flags(config.data), settings))


def _about(config: TuneConfig, first: Opened) -> About:
    sampler = {"tpe": "a tree-structured Parzen estimator", "random": "chance"}[config.sampler]
    about = About(
        verb="tune",
        searched="settings",
        metric=METRIC,
        method=f"Settings are chosen by {sampler}; given up early by {' and '.join(config.pruner or ())}.",
    )
    return searching.about_search(about, config, first, f"{config.gan.kimg:g} thousand images shown")
