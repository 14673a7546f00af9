"""``sonoforge gan search``: the settings with the lowest KID, or the cells of both networks of GA-GAN.

``--what settings``, with Optuna, as Thakur and Thakur do for six GANs on three modalities (optimiser, batch
renormalisation, architecture; about a hundred configurations for each model and data set).

``--what cells``: evolution designs the cells of a generator, then of its discriminator: the search of Berezsky and
Liashchynskyi 2024 (GA-GAN), on any folder of images.  With ``cells-paper`` nothing is held out, as published, and the
metric is FID in Inception against the training images.

Metrics are measured on held-out images; the best of many trials is optimistic on these, so it is measured on images
that no trial has read, too.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonoforge.models.cell_codes import resolve
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.architecture_search.cells import Evolution, space_of
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
from sonoforge.training.verbs.settings.gan import SEARCHES, GanSearchConfig
from sonoforge.training.workers import check_cluster

SETTINGS_METRIC = "kid"
log = logging.getLogger(__name__)

RECIPE = "ga-gan"
NETWORKS = {"generator": "discriminator", "discriminator": "generator"}
"""Each network, and its partner."""
FIRST_PARTNERS = {"generator": "fixed", "discriminator": "found"}
"""Code of the partner, if it was not searched before and none is given."""
_SETTINGS_ONLY = ("recipes", "trials", "over", "sampler")
_CELLS_ONLY = (
    *("stages", "strategy", "population", "children", "sample", "mutation", "metric", "weights", "deterministic"),
)


def main(config: GanSearchConfig) -> Outcome:
    """Do the trials that are missing, and write table and page again after each."""
    check_cluster(config.cluster, config.device)
    default = GanSearchConfig()
    for name in _CELLS_ONLY if config.what == "settings" else _SETTINGS_ONLY:
        if getattr(config, name) != getattr(default, name):
            raise SonoforgeError(f"{name}: has no effect with --what {config.what}; leave it out")
    config = _fill_defaults(config)
    return _search_settings(config) if config.what == "settings" else _search_cells(config)


def _fill_defaults(config: GanSearchConfig) -> GanSearchConfig:
    """Fill in what was left out, as `SEARCHES` has it.

    Raises:
        SonoforgeError: Settings that do not go together.
    """
    defaults = dict(SEARCHES[config.what])
    of_gan = defaults.pop("gan")
    if config.gan.kimg is not None or config.gan.epochs is not None:
        of_gan = {name: value for name, value in of_gan.items() if name not in ("kimg", "epochs")}
    if config.gan.conditioning not in (None, "none"):
        of_gan.pop("class_name", None)
    filled = {name: value for name, value in defaults.items() if getattr(config, name) is None}
    trained = {name: value for name, value in of_gan.items() if getattr(config.gan, name) in (None, "")}
    config = dataclasses.replace(config, **filled, gan=dataclasses.replace(config.gan, **trained))
    if config.what == "settings":
        return config
    if config.gan.metric_features == "inception" and not config.gan.metric_weights and config.what == "cells-paper":
        raise SonoforgeError(
            "metric_weights: --what cells-paper measures FID in Inception; give the file of its weights, or another "
            "space by --set gan.metric_features"
        )
    for name in ("start_from", "norm"):
        if getattr(config.gan, name):
            raise SonoforgeError(f"{name}: has no effect with --what {config.what}; leave it out")
    for stage in config.stages:
        if getattr(config.gan, f"{stage}_cell") is not None:
            raise SonoforgeError(f"{stage}_cell: the {stage} is searched; leave it out, or see --stages")
    return config


def _search_settings(config: GanSearchConfig) -> Outcome:
    """Search the settings of each recipe."""
    recipes = _prepare(config)
    first = recipes[0][1]
    about = _about_settings(config, first)
    with searching.open_folder("gan-search", config, first) as folder:
        storage = open_storage(folder / FILE)
        rules = Rules(config.gan.seed, SETTINGS_METRIC, config.pruner or (), config.trial_minutes)
        planned = []
        for source, opened, space in recipes:
            strategy = SettingsSearch(opened.settings.recipe, space, config.trials, config.sampler, config.gan.seed)

            def settings(trial: Trial, opened: Opened = opened) -> GanSettings:
                return trial_settings(opened, trial.study, trial.number, tried(trial))

            planned.append(searching.Planned(Study(storage, strategy), source, opened, rules, settings))
        with searching.open_trials(folder, config, about, [own.study for own in planned]) as trials:
            trials.carry_out(planned)
        return searching.conclude(folder, [_result_of_recipe(folder, config, own) for own in planned], about)


def _prepare(config: GanSearchConfig) -> list[tuple[Source, Opened, tuple[Parameter, ...]]]:
    """Open images and networks of each recipe, and refuse what cannot be trained, before there is a folder."""
    if len(set(config.recipes)) < len(config.recipes):
        raise SonoforgeError(f"--recipes: found {','.join(config.recipes)}; give different recipes")
    composed = [compose(dataclasses.replace(config.gan, recipe=recipe)) for recipe in config.recipes]
    narrowed = read_search(config.over, config.gan, composed)
    recipes = []
    for recipe in config.recipes:
        source, opened = searching.open_images(config, dataclasses.replace(config.gan, recipe=recipe))
        space = possible_space(opened, recipe_space(opened.recipe, source.settings, narrowed))
        recipes.append((source, opened, space))
        log.info("%s: searching %s", recipe, ", ".join(map(describe, space)))
    return recipes


def _result_of_recipe(folder: Path, config: GanSearchConfig, own: searching.Planned) -> Searched:
    """Return what a recipe's study has found: its best measured again, its command, and what mattered."""
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


def _about_settings(config: GanSearchConfig, first: Opened) -> About:
    sampler = {"tpe": "a tree-structured Parzen estimator", "random": "chance"}[config.sampler]
    about = About(
        verb="gan search",
        searched="settings",
        metric=SETTINGS_METRIC,
        method=f"Settings are chosen by {sampler}; stopped early by {' and '.join(config.pruner or ())}.",
    )
    return searching.about_search(
        about, config, first, f"{config.gan.kimg:g} thousand images shown" if config.gan.kimg else ""
    )


def _search_cells(config: GanSearchConfig) -> Outcome:
    """Search one network after the other."""
    paper = config.what == "cells-paper"
    settings_of_all = dataclasses.replace(config.gan, recipe=RECIPE)
    source, opened = searching.open_images(config, settings_of_all, against_training=paper)
    about = _about_cells(config, opened)  # refuses what cannot be trained, before there is a folder
    size = int(opened.images.pixels.shape[1])
    with searching.open_folder("gan-search-cells", config, opened) as folder:
        storage = open_storage(folder / FILE)
        studies = [Study(storage, _evolution(config, stage, size)) for stage in config.stages]
        partners: dict[str, str] = {}
        with searching.open_trials(folder, config, about, studies) as trials:
            for study in studies:
                partner = _partner(config, study.name, trials.finished, size)
                partners[NETWORKS[study.name]] = partner
                rules = Rules(
                    config.gan.seed, about.metric, tuple(config.pruner or ()), config.trial_minutes, study.name
                )

                def settings(trial: Trial, partner: str = partner) -> GanSettings:
                    return _trial_settings(opened.settings, trial, partner)

                own = searching.Planned(study, source, opened, rules, settings)
                trials.carry_out([own])
                if study.best is None:
                    raise SonoforgeError(
                        f"{folder}: all {len(study.trials)} {study.name}s diverged before they were measured; try a "
                        "lower --set gan.learning_rate"
                    )
                trials.finished.append(searching.measured_anew(folder, own))
        command = _final_command(config, opened, trials.finished, partners)
        return searching.conclude(folder, trials.finished, about, command)


def _evolution(config: GanSearchConfig, stage: str, image_size: int) -> Evolution:
    return Evolution(
        space=space_of(stage, image_size),
        strategy=config.strategy,
        population=config.population or 0,
        children=config.children or 0,
        sample=config.sample or 0,
        mutation=config.mutation,
        heirs=config.weights == "inherited",
        seed=config.gan.seed,
        deterministic=config.deterministic,
    )


def _partner(config: GanSearchConfig, stage: str, before: Sequence[Searched], image_size: int) -> str:
    """Return the code of the network beside the one that is searched."""
    other = NETWORKS[stage]
    for own in before:
        if own.name == other and own.best is not None:
            return str(own.best.values["code"])
    given = getattr(config.gan, f"{other}_cell") or FIRST_PARTNERS[stage]
    return str(resolve(given, other, image_size))


def _trial_settings(settings: GanSettings, trial: Trial, partner: str) -> GanSettings:
    """Return the settings that a trial trains with; its seed follows from the search's, the stage and its number."""
    codes = {f"{NETWORKS[trial.study]}_cell": partner, f"{trial.study}_cell": str(trial.values["code"])}
    seed = derive_seed(settings.seed, f"training of a {trial.study}", trial.number, bits=32)
    changes: dict[str, Any] = {**codes, "seed": seed}
    return dataclasses.replace(settings, **changes)


def _final_command(
    config: GanSearchConfig, opened: Opened, searched: Sequence[Searched], partners: dict[str, str]
) -> str:
    """Return the ``gan train`` of the best pair, with the recipe's own numbers where the preset has others."""
    codes: dict[str, Any] = {f"{network}_cell": code for network, code in partners.items()}
    codes |= {f"{own.name}_cell": str(own.best.values["code"]) for own in searched if own.best is not None}
    kept = {"image_size", "expand_to", "held_out", "metric_features"}
    preset: dict[str, Any] = dict.fromkeys({"kimg", "epochs", *SEARCHES[config.what]["gan"]} - kept)
    own = dataclasses.replace(opened.settings, **codes, **preset, metric_features="", metric_weights="")
    return train_command(data_flags(config.data), own)


def _about_cells(config: GanSearchConfig, opened: Opened) -> About:
    early = " and ".join(name for name in config.pruner or () if name != "none")
    if config.strategy == "aging":
        words = f"Ageing evolution: population {config.population}, the best of {config.sample} drawn is the parent"
    else:
        words = f"Cycles of {config.population} random codes"
    inherited = (
        "Trials start with the trained weights of their parents where layers agree, so later ones have learned for "
        "longer than their own budget: compare codes by a training of each afresh."
    )
    about = About(
        verb="gan search",
        searched="cells",
        metric=config.metric or "",
        method=f"{words}; mutation {config.mutation:g} for each element; "
        + (f"given up early by {early}." if early else "none given up early."),
        remark=inherited if config.weights == "inherited" else "",
    )
    return searching.about_search(about, config, opened)
