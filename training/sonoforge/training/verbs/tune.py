"""``sonoforge tune``: search each recipe's settings for the lowest KID, with Optuna.

As Thakur and Thakur do for six GANs on three modalities (optimiser, batch renormalisation, architecture; about a
hundred configurations for each model and data set).  KID is measured on held-out images; the best of many trials is
optimistic on these, so the page also has its KID on images that no trial has read.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.trial import FrozenTrial

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, flatten
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.data.data_option import data_flags
from sonoforge.training.devices import find_device
from sonoforge.training.gan.settings import compose
from sonoforge.training.pages.tuning import page
from sonoforge.training.progress import is_shown, progress_bar
from sonoforge.training.run_folder import write_table
from sonoforge.training.tasks.opening import open_workers
from sonoforge.training.tasks.ray_cluster import check_cluster
from sonoforge.training.tasks.workers import WorkerSettings
from sonoforge.training.trials.apart import measure_apart
from sonoforge.training.trials.command import train_command
from sonoforge.training.trials.source import Opened, Source, keep_sources, open_source, with_space
from sonoforge.training.trials.training import METRICS
from sonoforge.training.tuning.best import best_trial, keep_best_checkpoint, trial_folder
from sonoforge.training.tuning.parameters import Parameter, describe
from sonoforge.training.tuning.possible import possible_space
from sonoforge.training.tuning.results import COLUMNS, Row, Searched, trial_row
from sonoforge.training.tuning.space import read_search, recipe_space, with_values
from sonoforge.training.tuning.study import FILE, Asked, Ended, Plan, Study, open_storage, search
from sonoforge.training.tuning.trial import Rules, TrialTask, run_trial, set_up_with
from sonoforge.training.verbs.gan_train import device_name
from sonoforge.training.verbs.settings.gan import TuneConfig

log = logging.getLogger(__name__)


class _Searching(NamedTuple):
    """One recipe, ready to be searched."""

    source: Source
    opened: Opened
    space: tuple[Parameter, ...]


def main(config: TuneConfig) -> Outcome:
    """Do the trials that are missing, and write the table anew after each; then the page and the pictures."""
    check_cluster(config.cluster, config.device)
    rules = Rules(config.gan.seed, config.pruner, config.trial_minutes)
    searching = _prepare(config, rules)
    first = searching[0].opened
    name = re.sub(r"[^a-z0-9]+", "-", f"tune-{first.images.name}-{config.gan.class_name}".lower()).strip("-")
    folder = run_folder.open_run(Path(config.out), name, flatten(config), resume=config.resume)
    with run_folder.working_in(folder):
        keep_sources(folder, first)
        here = device_name(find_device(first.job.device))
        environment = run_folder.describe_environment(here, config.gan.seed, first.images.fingerprint)
        environment["versions"]["optuna"] = optuna.__version__  # what is tried depends on it
        run_folder.write_environment(folder, environment)
        storage = open_storage(folder / FILE)
        plan = Plan(config.trials, config.sampler, config.gan.seed)
        studies = [Study(storage, own.source.settings.recipe, own.space, plan) for own in searching]
        _search(folder, config, rules, searching, studies)
        searched = [_result(folder, config, own, study) for own, study in zip(searching, studies, strict=True)]
        page.write_report(folder, searched, _facts(config, first))
        say("%s", page.describe_table(searched))
        say("the lowest KID is the best of %d trials on the images it is shown for, so optimistic", config.trials)
        say("page: %s   all trials: %s", folder / page.REPORT, folder / page.TABLE)
        results = {own.recipe: {**own._asdict(), "states": own.states} for own in searched}
        run_folder.write_results(folder, {"recipes": results})
    found = [own for own in searched if own.best is not None]
    best = min(found, key=lambda own: own.best["kid"] if own.best else 0.0, default=None)
    paths = {"run": str(folder), "report": str(folder / page.REPORT), "table": str(folder / page.TABLE)}
    return Outcome({**paths, "recipes": results}, best.command if best else "sonoforge tune --help")


def _prepare(config: TuneConfig, rules: Rules) -> list[_Searching]:
    """Open images and networks of each recipe, and refuse what cannot be trained, before there is a folder."""
    if len(set(config.recipes)) < len(config.recipes):
        raise SonoforgeError(f"--recipes: found {','.join(config.recipes)}, expected different recipes")
    if not config.gan.held_out:
        raise SonoforgeError(
            "--held-out: found 0, expected a share above 0: chosen on the images they were trained on, the best "
            "settings would be those that copy them best"
        )
    recipes = [compose(dataclasses.replace(config.gan, recipe=recipe)) for recipe in config.recipes]
    narrowed = read_search(config.search, config.gan, recipes)
    cache = config.storage.open()
    searching = []
    for recipe in config.recipes:
        settings = dataclasses.replace(config.gan, recipe=recipe, metrics=METRICS)
        device = "auto" if config.cluster else config.device  # a cluster's GPUs need not be here
        source = with_space(Source(config.data, cache, settings, device, config.second_held_out))
        opened = open_source(source, rules.seed)
        source = dataclasses.replace(source, fingerprint=opened.images.fingerprint)
        space_of_recipe = recipe_space(compose(settings), settings, narrowed)
        own = _Searching(source, opened, possible_space(opened, space_of_recipe))
        searching.append(own)
        log.info("%s: searched are %s", recipe, ", ".join(map(describe, own.space)))
    return searching


def _search(
    folder: Path, config: TuneConfig, rules: Rules, searching: Sequence[_Searching], studies: Sequence[Study]
) -> None:
    sources = {own.source.settings.recipe: own.source for own in searching}
    total = config.trials * len(studies)
    done = sum(len(study.ended) for study in studies)
    for study in studies:
        keep_best_checkpoint(folder, study)  # a kill may have come before
    workers = WorkerSettings(config.device, config.jobs, config.cluster)
    by_name = {study.name: study for study in studies}

    def task(asked: Asked) -> TrialTask:
        source = dataclasses.replace(sources[asked.study], device=opened.device)
        return TrialTask(asked, source, rules, trial_folder(folder, asked.study, asked.number), folder)

    with (
        open_workers(workers, folder, total - done) as opened,
        progress_bar("trials", total, done, show=is_shown()) as advance,
    ):
        for ended in search(studies, opened, run_trial, task, lambda task: (task.folder,)):
            done += 1
            keep_best_checkpoint(folder, by_name[ended.study])
            _write_table(folder, studies)
            words = _words(ended, by_name[ended.study])
            log.info("%d of %d: %s", done, total, words)
            advance(done, words)


def _words(ended: Ended, study: Study) -> str:
    best = best_trial(study.ended)
    kid = ended.details.get("kid")
    lowest = "" if best is None else f"; lowest {best.value:.4f} (trial {best.number})"
    return f"{ended.study} trial {ended.number} {ended.state}{'' if kid is None else f', KID {kid:.4f}'}{lowest}"


def _write_table(folder: Path, studies: Sequence[Study]) -> None:
    rows = [_row(study, trial) for study in studies for trial in study.ended]
    columns = [name for name in COLUMNS if any(name in row for row in rows)]
    write_table(folder / page.TABLE, columns, rows)


def _row(study: Study, trial: FrozenTrial) -> Row:
    return trial_row(study.name, trial, f"{study.name}/{trial_folder(Path(), study.name, trial.number).name}")


def _result(folder: Path, config: TuneConfig, own: _Searching, study: Study) -> Searched:
    """Collect what is known of a recipe's trials, and measure the best anew."""
    trials = study.ended
    rows, best = [_row(study, trial) for trial in trials], best_trial(trials)
    importances, missing = {}, ""
    try:
        importances = study.importances()
    except SonoforgeError as error:
        log.warning("%s", error)
        missing = str(error).partition(": ")[2]
    if best is None:
        return Searched(study.name, rows, None, {}, "", importances, missing)
    settings = with_values(own.opened.job.settings, own.opened.recipe, best.user_attrs["values"])
    if not config.gan.metric_features:
        settings = dataclasses.replace(settings, metric_features="")
    apart = measure_apart(trial_folder(folder, study.name, best.number), own.opened)
    command = train_command(data_flags(config.data), settings)
    return Searched(study.name, rows, rows[best.number], apart, command, importances, missing)


def _facts(config: TuneConfig, first: Opened) -> dict[str, object]:
    setup = set_up_with(first, first.job.settings)
    limit = f" or {config.trial_minutes:g} minutes" if config.trial_minutes else ""
    return {
        "name": f"{first.images.name}, {config.gan.class_name}" if config.gan.class_name else first.images.name,
        "held_out": len(setup.held_out) if setup.held_out else 0,
        "apart": len(first.apart) if first.apart else 0,
        "trained": len(setup.images),
        "features": first.job.space.name if first.job.space else "",
        "budget": f"each trial for {config.gan.kimg:g} thousand images shown{limit}",
    }
