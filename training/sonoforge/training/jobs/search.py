"""Search for the settings with the lowest KID, or the cells of both networks of GA-GAN, by many training runs.

``--what settings`` uses Optuna, as Thakur and Thakur do for six GANs on three modalities (optimiser, batch
renormalisation, architecture; about a hundred configurations for each model and data set).

``--what cells``: evolution designs the cells of a generator, then of its discriminator. This is the search of Berezsky
and Liashchynskyi 2024 (GA-GAN), on any folder of images.  With ``cells-paper`` nothing is held out, as published, and
the metric is FID in Inception against the training images.

Metrics are measured on held-out images; the best of many trials is optimistic on these, so it is also measured on
images that no trial has read.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.models.ga_gan import resolve
from sonoforge.runtime.atomic import remove_folder
from sonoforge.runtime.cli.options import flatten
from sonoforge.runtime.cli.progress import Advance, progress_bar
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training import run_folder
from sonoforge.training.architecture_search.space import describe, read_search, recipe_space, with_values
from sonoforge.training.architecture_search.strategies import (
    Evolution,
    SettingsSearch,
    possible_space,
    space_of,
    trial_settings,
    tried,
)
from sonoforge.training.architecture_search.study import FILE, Strategy, Study, Trial, open_storage, search
from sonoforge.training.architecture_search.trial import (
    FIGURES,
    METRICS,
    Opened,
    Rules,
    Searched,
    Source,
    TrialTask,
    keep_sources,
    measure_apart,
    open_source,
    prepare_trial,
    run_trial,
    train_command,
    trial_folder,
    trial_row,
    with_space,
)
from sonoforge.training.data.data_option import data_flags
from sonoforge.training.devices import device_name, find_device
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.settings import compose
from sonoforge.training.reports import search as page
from sonoforge.training.settings.gan import SEARCHES, GanSearchConfig
from sonoforge.training.workers import Workers, WorkerSettings, check_cluster, open_workers

log = logging.getLogger(__name__)

RECIPE = "ga-gan"
NETWORKS = {"generator": "discriminator", "discriminator": "generator"}
"""Each network, and its partner."""
FIRST_PARTNERS = {"generator": "fixed", "discriminator": "found"}
"""Code of the partner if it was not searched before and none is given."""
_SETTINGS_ONLY = ("recipes", "trials", "over")
_CELLS_ONLY = ("stages", "strategy", "population", "children", "sample", "mutation", "weights")


def work(config: GanSearchConfig) -> tuple[Path, list[Searched], str]:
    """Do the missing trials, updating table and page after each.

    Returns:
        The run folder, with ``study.db``, the table of all trials and ``report.html``; what the study of each recipe or
        network found; and the command that trains with the best of it, empty if no trial was measured.

    Raises:
        SonoforgeError: The settings do not go together, or cannot be trained on these images; or all trials of a
            network diverged.
    """
    check_cluster(config.cluster, config.device)
    default = GanSearchConfig()
    for name in _CELLS_ONLY if config.what == "settings" else _SETTINGS_ONLY:
        if getattr(config, name) != getattr(default, name):
            raise SonoforgeError(f"{name}: has no effect with --what {config.what}; leave it out")
    config = _fill_defaults(config)
    plan = (_plan_settings if config.what == "settings" else _plan_cells)(config)
    settings, images = plan.first.settings, plan.first.images
    name = run_folder.slug(plan.name, images.name, settings.class_name)
    folder = run_folder.open_run(Path(config.out), name, flatten(config), resume=config.resume)
    with run_folder.working_in(folder):
        keep_sources(folder, plan.first)
        here = device_name(find_device(plan.first.device))
        # What is tried depends on Optuna.
        run_folder.write_environment(folder, here, settings.seed, images.fingerprint, ("optuna",))
        storage = open_storage(folder / FILE)
        studies = [Study(storage, strategy) for strategy in plan.strategies]
        total, done = sum(one.strategy.total for one in studies), sum(len(one.ended) for one in studies)
        workers_asked = WorkerSettings(config.device, config.jobs, config.cluster)
        with (
            open_workers(workers_asked, folder, total - done) as workers,
            progress_bar("trials", total, done) as advance,
        ):
            trials = _Trials(folder, plan.about, workers, advance, done, [])
            for planned in plan.rounds(folder, studies, trials.finished):
                trials.carry_out(planned)
                trials.finished.extend(_measured_anew(folder, own) for own in planned)
        searched, command = plan.concluded(trials.finished)
        _write_table(folder, searched)
        page.write_report(folder, searched, plan.about, command)
        run_folder.write_results(folder, {"studies": {own.name: own.summary() for own in searched}})
    commands = [(own.best.metric or 0.0, own.command) for own in searched if own.best and own.command]
    return folder, searched, command or min(commands, default=(0.0, ""))[1]


def _fill_defaults(config: GanSearchConfig) -> GanSearchConfig:
    """Fill in what was left out from `SEARCHES`.

    Raises:
        SonoforgeError: The settings do not go together.
    """
    defaults = dict(SEARCHES[config.what])
    of_gan, _ = defaults.pop("gan"), defaults.pop("metric")
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
            "metric_weights: --what cells-paper measures FID in Inception; give its weights file, or another space "
            "with --set gan.metric_features"
        )
    for name in ("start_from", "norm"):
        if getattr(config.gan, name):
            raise SonoforgeError(f"{name}: has no effect with --what {config.what}; leave it out")
    for stage in config.stages:
        if getattr(config.gan, f"{stage}_cell") is not None:
            raise SonoforgeError(f"{stage}_cell: the {stage} is searched; leave it out, or see --stages")
    return config


# ---- what both searches share: images, networks, trials, table and page


class _Plan(NamedTuple):
    """A search that was checked; nothing is written yet."""

    name: str  # of the run folder
    about: page.About
    first: Opened
    strategies: list[Strategy]
    # Run folder, studies, and what those that are over found: to the studies to do side by side, round by round.
    rounds: Callable[[Path, Sequence[Study], Sequence[Searched]], Iterator[list[_Planned]]]
    # What was found: to the same with commands, and the command that trains it all; empty if each study has its own.
    concluded: Callable[[list[Searched]], tuple[list[Searched], str]]


@dataclasses.dataclass(frozen=True, eq=False)
class _Planned:
    """A study, and how to train its trials."""

    study: Study
    source: Source
    opened: Opened
    rules: Rules
    settings: Callable[[Trial], GanSettings]  # of a trial

    def searched(self) -> Searched:
        """Return what it has found so far."""
        return Searched(self.study.name, self.study.trials, self.study.strategy.total, self.rules.metric)


def _open_images(
    config: GanSearchConfig, settings: GanSettings, *, against_training: bool = False
) -> tuple[Source, Opened]:
    """Open the images and networks of a study; ``against_training`` allows holding none out.

    Raises:
        SonoforgeError: Nothing is held out; or see `trial.open_source`.
    """
    if not settings.held_out and not against_training:
        raise SonoforgeError(
            "held_out must be above 0: measured on its own training images, the best trial would be the one that "
            "copies them best"
        )
    settings = dataclasses.replace(settings, metrics=METRICS)
    apart = config.second_held_out or 0.0
    device = "auto" if config.cluster else config.device  # a cluster's GPUs need not be here
    source = with_space(Source(config.data, config.storage.open(), settings, device, apart, config.groups_from))
    opened = open_source(source, settings.seed)
    return dataclasses.replace(source, fingerprint=opened.images.fingerprint), opened


def _about(config: GanSearchConfig, opened: Opened, method: str, remark: str = "") -> page.About:
    """Describe a search; refuse what cannot be trained."""
    training, images, class_name = prepare_trial(opened, opened.settings), opened.images, opened.settings.class_name
    settings, kimg = config.what == "settings", training.plan.steps * training.images_per_step / 1000
    shown = f"{config.gan.kimg:g}" if settings and config.gan.kimg else f"{kimg:.3g}"
    size = f"{training.plan.image_size} x {training.plan.image_size} pixels"
    given_up = "a trial worse than the median is given up" if config.pruner == "median" else "none is given up early"
    return page.About(
        searched="settings" if settings else "cells",
        metric=SEARCHES[config.what]["metric"],
        method=f"{method}; {given_up}.",
        remark=remark,
        name=f"{images.name}, {class_name}" if class_name else images.name,
        held_out=len(training.held_out) if training.held_out else 0,
        apart=len(opened.apart) if opened.apart else 0,
        trained=len(training.images),
        features=opened.pretrained.space.name if opened.pretrained.space else "",
        budget=f"each trial for {shown} thousand images shown, {size}",
    )


class _Trials(NamedTuple):
    """The trials of all studies of a run, table and page."""

    folder: Path
    about: page.About
    workers: Workers
    advance: Advance
    done: int  # before this process
    finished: list[Searched]  # studies that are over

    def carry_out(self, planned: Sequence[_Planned]) -> None:
        """Do the missing trials of these studies, updating table and page after each."""
        by_name = {own.study.name: own for own in planned}
        for own in planned:
            self._remove_checkpoints(own.study)  # a kill may have come before

        def task(trial: Trial) -> TrialTask:
            own, heir_of = by_name[trial.study], trial.values.get("heir_of")
            return TrialTask(
                trial=trial,
                past=own.study.past(trial.number),
                settings=own.settings(trial),
                source=dataclasses.replace(own.source, device=self.workers.device),
                rules=own.rules,
                folder=trial_folder(self.folder, trial.study, trial.number),
                weights=trial_folder(self.folder, trial.study, heir_of) if isinstance(heir_of, int) else None,
                run=self.folder,
            )

        over = self.done + sum(len(own.ended) for own in self.finished)
        for ended in search([own.study for own in planned], self.workers, run_trial, task):
            own = by_name[ended.study]
            self._remove_checkpoints(own.study)
            so_far = [*self.finished, *(one.searched() for one in planned if one.study.trials)]
            _write_table(self.folder, so_far)
            page.write_report(self.folder, so_far, self.about, finished=False)
            over += 1
            words = page.trial_line(own.searched(), ended)
            log.info("%d trials: %s", over, words)
            self.advance(over, words)

    def _remove_checkpoints(self, study: Study) -> None:
        """Remove all checkpoints except the best one's and those that later trials may inherit from."""
        kept = study.strategy.inheritable(study.trials) | ({study.best.number} if study.best else set())
        for trial in study.ended:
            checkpoints = trial_folder(self.folder, study.name, trial.number) / "checkpoints"
            if trial.number not in kept and checkpoints.is_dir():
                remove_folder(checkpoints)


def _measured_anew(folder: Path, own: _Planned) -> Searched:
    """Return what a finished study found, with its best measured against images that chose nothing."""
    found, best = own.searched(), own.study.best
    if best is None:
        return found
    return dataclasses.replace(found, apart=measure_apart(trial_folder(folder, best.study, best.number), own.opened))


def _write_table(folder: Path, searched: Sequence[Searched]) -> None:
    """Write all trials that have ended."""
    rows = [trial_row(trial) for own in searched for trial in own.ended]
    names = dict.fromkeys(name for own in searched for name in own.names)
    columns = ["study", "trial", "state", *FIGURES, *names, "why", "run"]
    run_folder.write_table(folder / page.TABLE, columns, rows)


# ---- settings


def _plan_settings(config: GanSearchConfig) -> _Plan:
    """Open each recipe's images and networks; all recipes are searched side by side."""
    if len(set(config.recipes)) < len(config.recipes):
        raise SonoforgeError(f"--recipes: {','.join(config.recipes)} repeats a recipe; give different recipes")
    composed = [compose(dataclasses.replace(config.gan, recipe=recipe)) for recipe in config.recipes]
    narrowed = read_search(config.over, config.gan, composed)
    opened: dict[str, tuple[Source, Opened]] = {}
    strategies: list[Strategy] = []
    for recipe in config.recipes:
        source, own = opened[recipe] = _open_images(config, dataclasses.replace(config.gan, recipe=recipe))
        space = possible_space(own, recipe_space(own.recipe, source.settings, narrowed))
        strategies.append(SettingsSearch(recipe, space, config.trials, config.gan.seed))
        log.info("%s: searching %s", recipe, ", ".join(map(describe, space)))
    first = opened[config.recipes[0]][1]
    about = _about(config, first, "Settings are chosen by a tree-structured Parzen estimator")
    rules = Rules(config.gan.seed, about.metric, config.pruner == "median")

    def rounds(folder: Path, studies: Sequence[Study], before: Sequence[Searched]) -> Iterator[list[_Planned]]:
        del folder, before

        def settings(trial: Trial) -> GanSettings:
            return trial_settings(opened[trial.study][1], trial.study, trial.number, tried(trial))

        yield [_Planned(study, *opened[study.name], rules, settings) for study in studies]

    def concluded(searched: list[Searched]) -> tuple[list[Searched], str]:
        return [_with_command(config, opened[own.name][1], own) for own in searched], ""

    return _Plan("gan-search", about, first, strategies, rounds, concluded)


def _with_command(config: GanSearchConfig, opened: Opened, own: Searched) -> Searched:
    if own.best is None:
        return own
    settings = with_values(opened.settings, opened.recipe, tried(own.best))
    if not config.gan.metric_features:
        settings = dataclasses.replace(settings, metric_features="")
    return dataclasses.replace(own, command=train_command(data_flags(config.data), settings))


# ---- cells


def _plan_cells(config: GanSearchConfig) -> _Plan:
    """Open the images; one network is searched after the other."""
    settings_of_all = dataclasses.replace(config.gan, recipe=RECIPE)
    source, opened = _open_images(config, settings_of_all, against_training=config.what == "cells-paper")
    if config.strategy == "aging":
        words = f"Ageing evolution: population {config.population}, the best of {config.sample} drawn is the parent"
    else:
        words = f"Cycles of {config.population} random codes"
    inherited = (
        "Trials start with the trained weights of their parents where layers agree, so later ones have learned for "
        "longer than their own budget: compare codes by a training run of each afresh."
    )
    method = f"{words}; mutation {config.mutation:g} for each element"
    about = _about(config, opened, method, inherited if config.weights == "inherited" else "")
    rules = Rules(config.gan.seed, about.metric, config.pruner == "median")
    size = int(opened.images.pixels.shape[1])
    partners: dict[str, str] = {}

    def rounds(folder: Path, studies: Sequence[Study], before: Sequence[Searched]) -> Iterator[list[_Planned]]:
        for study in studies:
            partners[NETWORKS[study.name]] = partner = _partner(config, study.name, before, size)

            def settings(trial: Trial, partner: str = partner) -> GanSettings:
                codes = {f"{NETWORKS[trial.study]}_cell": partner, f"{trial.study}_cell": str(trial.values["code"])}
                seed = derive_seed(opened.settings.seed, f"training of a {trial.study}", trial.number, bits=32)
                changes: dict[str, Any] = {**codes, "seed": seed}
                return dataclasses.replace(opened.settings, **changes)

            yield [_Planned(study, source, opened, rules, settings)]
            if study.best is None:
                raise SonoforgeError(
                    f"{folder}: all {len(study.trials)} {study.name}s diverged before they were measured; try a "
                    "lower --set gan.learning_rate"
                )

    def concluded(searched: list[Searched]) -> tuple[list[Searched], str]:
        return searched, _command_of_cells(config, opened, searched, partners)

    strategies: list[Strategy] = [
        Evolution(
            space=space_of(stage, size),
            strategy=config.strategy,
            population=config.population or 0,
            children=config.children or 0,
            sample=config.sample or 0,
            mutation=config.mutation,
            heirs=config.weights == "inherited",
            seed=config.gan.seed,
        )
        for stage in config.stages
    ]
    return _Plan("gan-search-cells", about, opened, strategies, rounds, concluded)


def _partner(config: GanSearchConfig, stage: str, before: Sequence[Searched], image_size: int) -> str:
    """Return the code of the searched network's partner."""
    other = NETWORKS[stage]
    for own in before:
        if own.name == other and own.best is not None:
            return str(own.best.values["code"])
    given = getattr(config.gan, f"{other}_cell") or FIRST_PARTNERS[stage]
    return str(resolve(given, other, image_size))


def _command_of_cells(
    config: GanSearchConfig, opened: Opened, searched: Sequence[Searched], partners: dict[str, str]
) -> str:
    """Return the ``gan train`` command for the best pair, with the recipe's own numbers if the preset differs."""
    codes: dict[str, Any] = {f"{network}_cell": code for network, code in partners.items()}
    codes |= {f"{own.name}_cell": str(own.best.values["code"]) for own in searched if own.best is not None}
    kept = {"image_size", "expand_to", "held_out", "metric_features"}
    preset: dict[str, Any] = dict.fromkeys({"kimg", "epochs", *SEARCHES[config.what]["gan"]} - kept)
    own = dataclasses.replace(opened.settings, **codes, **preset, metric_features="", metric_weights="")
    return train_command(data_flags(config.data), own)
