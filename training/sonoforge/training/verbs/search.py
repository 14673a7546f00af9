"""``sonoforge search``: evolution designs the cells of a generator, then those of its discriminator.

The search of Berezsky and Liashchynskyi 2024 (GA-GAN), on any folder of images.  The metric is measured on held-out
images; the best of many trials is optimistic on these, so it is measured on images that no trial has read, too.  As
published, with ``--preset paper``, nothing is held out; the metric is FID in Inception against the images trained on.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sonoforge.models.cell_codes import resolve
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.architecture_search.cells import Evolution, space_of
from sonoforge.training.architecture_search.results import Searched, train_command
from sonoforge.training.architecture_search.study import FILE, Study, Trial, open_storage
from sonoforge.training.architecture_search.trial import Opened, Rules
from sonoforge.training.data.data_option import data_flags
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.reports.search import About
from sonoforge.training.verbs import searching
from sonoforge.training.verbs.settings.gan import SEARCH_PRESETS, SearchConfig
from sonoforge.training.workers.ray_cluster import check_cluster

RECIPE = "ga-gan"
NETWORKS = {"generator": "discriminator", "discriminator": "generator"}
"""Each network, and the one beside it."""
FIRST_PARTNERS = {"generator": "fixed", "discriminator": "found"}
"""Code of the other network, where it was not searched before and none is given."""


def main(config: SearchConfig) -> Outcome:
    """Search one network after the other, and write table and page anew after each trial."""
    check_cluster(config.cluster, config.device)
    config = _fill_preset(config)
    paper = config.preset == "paper"
    settings_of_all = dataclasses.replace(config.gan, recipe=RECIPE)
    source, opened = searching.open_images(config, settings_of_all, against_training=paper)
    about = _about(config, opened)  # refuses what cannot be trained, before there is a folder
    size = int(opened.images.pixels.shape[1])
    with searching.open_folder("search", config, opened) as folder:
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
                        "lower --learning-rate"
                    )
                trials.finished.append(searching.measured_anew(folder, own))
        command = _final_command(config, opened, trials.finished, partners)
        return searching.conclude(folder, trials.finished, about, command)


def _fill_preset(config: SearchConfig) -> SearchConfig:
    """Fill in what was left out.

    Raises:
        SonoforgeError: Settings that do not go together.
    """
    preset = dict(SEARCH_PRESETS[config.preset])
    usual = preset.pop("gan")
    if config.gan.kimg is not None or config.gan.epochs is not None:
        usual = {name: value for name, value in usual.items() if name not in ("kimg", "epochs")}
    filled = {name: value for name, value in preset.items() if getattr(config, name) is None}
    trained = {name: value for name, value in usual.items() if getattr(config.gan, name) in (None, "")}
    config = dataclasses.replace(config, **filled, gan=dataclasses.replace(config.gan, **trained))
    if config.preset == "paper" and config.gan.metric_features == "inception" and not config.gan.metric_weights:
        raise SonoforgeError(
            "--metric-weights: found none, expected the file of Inception's weights, by which --preset paper measures "
            "FID; give it, or another space by --metric-features"
        )
    for stage in config.stages:
        if getattr(config.gan, f"{stage}_cell") is not None:
            raise SonoforgeError(f"--{stage}-cell: found it with the {stage} searched; leave it out, or see --stages")
    return config


def _evolution(config: SearchConfig, stage: str, image_size: int) -> Evolution:
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


def _partner(config: SearchConfig, stage: str, before: Sequence[Searched], image_size: int) -> str:
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


def _final_command(config: SearchConfig, opened: Opened, searched: Sequence[Searched], partners: dict[str, str]) -> str:
    """Return the ``gan train`` of the best pair, with the recipe's own numbers where the preset has others."""
    codes: dict[str, Any] = {f"{network}_cell": code for network, code in partners.items()}
    codes |= {f"{own.name}_cell": str(own.best.values["code"]) for own in searched if own.best is not None}
    kept = {"image_size", "expand_to", "held_out", "metric_features"}
    preset: dict[str, Any] = dict.fromkeys({"kimg", "epochs", *SEARCH_PRESETS[config.preset]["gan"]} - kept)
    own = dataclasses.replace(opened.settings, **codes, **preset, metric_features="", metric_weights="")
    return train_command(data_flags(config.data), own)


def _about(config: SearchConfig, opened: Opened) -> About:
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
        verb="search",
        searched="cells",
        metric=config.metric or "",
        method=f"{words}; mutation {config.mutation:g} for each element; "
        + (f"given up early by {early}." if early else "none given up early."),
        remark=inherited if config.weights == "inherited" else "",
    )
    return searching.about_search(about, config, opened)
