"""``sonoforge search``: evolution designs the cells of a generator, then those of its discriminator.

The search of Berezsky and Liashchynskyi 2024 (GA-GAN), on any folder of images.  The metric is measured on held-out
images; the best of many children is optimistic on these, so it is measured on images that no child has read, too.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

from sonoforge.export.generators.latency import generator_latency
from sonoforge.export.verbs.settings import PRESETS, SearchConfig
from sonoforge.models.ga_gan.codes import resolve
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, flatten
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.data.data_option import data_flags
from sonoforge.training.devices import find_device
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.pages.search import page
from sonoforge.training.progress import Advance, is_shown, progress_bar
from sonoforge.training.run_folder import write_table
from sonoforge.training.search.child_training import ChildTask, Rules, weights_of
from sonoforge.training.search.children import Child, child_folder, read_children, write_children
from sonoforge.training.search.evolution import Evolution
from sonoforge.training.search.results import COLUMNS, Searched, child_row
from sonoforge.training.search.stage import Stage, StagePlan, evolve, remove_checkpoints
from sonoforge.training.search.variation import space_of
from sonoforge.training.tasks.opening import open_workers
from sonoforge.training.tasks.ray_cluster import check_cluster
from sonoforge.training.tasks.workers import Workers, WorkerSettings
from sonoforge.training.trials.apart import measure_apart
from sonoforge.training.trials.command import train_command
from sonoforge.training.trials.source import Opened, Source, keep_sources, open_source, with_space
from sonoforge.training.trials.training import METRICS, set_up_trial
from sonoforge.training.verbs.gan_train import device_name

log = logging.getLogger(__name__)

RECIPE = "ga-gan"
NETWORKS = {"generator": "discriminator", "discriminator": "generator"}
"""Each network, and the one beside it."""
FIRST_PARTNERS = {"generator": "fixed", "discriminator": "found"}
"""Code of the other network, where it was not searched before and none is given."""


@dataclasses.dataclass(frozen=True)
class _Search:
    """What the stages of a search have in common."""

    config: SearchConfig
    folder: Path  # the run folder
    source: Source
    opened: Opened
    facts: dict[str, object]  # what the page says of the search

    @property
    def image_size(self) -> int:
        """Side in pixels of what the networks draw."""
        return int(self.opened.images.pixels.shape[1])


def main(config: SearchConfig) -> Outcome:
    """Train all children that are missing, and write table and page anew after each."""
    check_cluster(config.cluster, config.device)
    config = _fill_preset(config)
    source, opened = _open(config)
    facts = _facts(config, opened)  # refuses what cannot be trained, before there is a folder
    name = re.sub(r"[^a-z0-9]+", "-", f"search-{opened.images.name}-{config.gan.class_name}".lower()).strip("-")
    folder = run_folder.open_run(Path(config.out), name, flatten(config), resume=config.resume)
    with run_folder.working_in(folder):
        keep_sources(folder, opened)
        here = device_name(find_device(opened.job.device))
        environment = run_folder.describe_environment(here, config.gan.seed, opened.images.fingerprint)
        run_folder.write_environment(folder, environment)
        search = _Search(config, folder, source, opened, facts)
        searched = _search(search)
        command = _final_command(search, searched)
        page.write_report(folder, searched, {**search.facts, "command": command, "finished": True})
        say("%s", page.describe_table(searched, config.metric or ""))
        name = (config.metric or "").upper()
        say("the lowest %s is the best of many children on the images it is shown for, so optimistic", name)
        say("page: %s   all children: %s", folder / page.REPORT, folder / page.TABLE)
        results = {own.stage: page.summary(own) for own in searched}
        run_folder.write_results(folder, {"stages": results})
    paths = {"run": str(folder), "report": str(folder / page.REPORT), "table": str(folder / page.TABLE)}
    return Outcome({**paths, "stages": results}, command)


def _fill_preset(config: SearchConfig) -> SearchConfig:
    """Fill in what was left out.

    Raises:
        SonoforgeError: Settings that do not go together.
    """
    preset = dict(PRESETS[config.preset])
    usual = preset.pop("gan")
    if config.gan.kimg is not None or config.gan.epochs is not None:
        usual = {name: value for name, value in usual.items() if name not in ("kimg", "epochs")}
    filled = {name: value for name, value in preset.items() if getattr(config, name) is None}
    trained = {name: value for name, value in usual.items() if getattr(config.gan, name) is None}
    config = dataclasses.replace(config, **filled, gan=dataclasses.replace(config.gan, **trained))
    if config.proxies != ("none",) and "none" in (config.proxies or ()):
        raise SonoforgeError("--proxies: found none beside others, expected it alone")
    for stage in config.stages:
        if getattr(config.gan, f"{stage}_cell") is not None:
            raise SonoforgeError(f"--{stage}-cell: found it with the {stage} searched; leave it out, or see --stages")
    if not config.gan.held_out:
        raise SonoforgeError(
            "--held-out: found 0, expected a share above 0: chosen on the images they were trained on, the best cells "
            "would be those that copy them best"
        )
    return config


def _open(config: SearchConfig) -> tuple[Source, Opened]:
    """Open images and networks."""
    settings = dataclasses.replace(config.gan, recipe=RECIPE, metrics=METRICS)
    device = "auto" if config.cluster else config.device  # a cluster's GPUs need not be here
    source = with_space(Source(config.data, config.storage.open(), settings, device, config.second_held_out))
    opened = open_source(source, config.gan.seed)
    return dataclasses.replace(source, fingerprint=opened.images.fingerprint), opened


def _search(search: _Search) -> list[Searched]:
    """Search one network after the other."""
    config, folder = search.config, search.folder
    stages: dict[str, Stage] = {}
    children = read_children(folder)

    def save() -> None:
        write_children(folder, children | {name: stage.children for name, stage in stages.items()})

    for name in config.stages:
        stages[name] = Stage(_plan(search, name), children[name], save)
    total = sum(stage.plan.evolution.total for stage in stages.values())
    done = sum(child.ended for stage in stages.values() for child in stage.children)
    searched: list[Searched] = []
    settings = WorkerSettings(config.device, config.jobs, config.cluster)
    with (
        open_workers(settings, folder, total - done) as workers,
        progress_bar("children", total, done, show=is_shown()) as advance,
    ):
        for stage in stages.values():
            searched.append(_search_stage(search, stage, searched, workers, advance))
    return searched


def _search_stage(
    search: _Search, stage: Stage, before: list[Searched], workers: Workers, advance: Advance
) -> Searched:
    """Search one network, and measure the best anew.

    Raises:
        SonoforgeError: None of its children had a metric at all.
    """
    config, folder = search.config, search.folder
    partner = _partner(search, stage.name, before)
    rules = Rules(config.gan.seed, config.metric or "", partner, config.child_minutes)
    source = dataclasses.replace(search.source, device=workers.device)

    def task(child: Child) -> ChildTask:
        own = child_folder(folder, stage.name, child.member)
        weights = weights_of(folder, stage.name, child, stage.children)
        return ChildTask(stage.name, child, source, rules, own, weights, folder)

    earlier = sum(len(own.ended) for own in before)
    for child in [child for child in stage.children if child.ended]:
        _measure_latency(folder, stage, child)  # a kill may have come before
    remove_checkpoints(stage, folder)
    for trained in evolve(stage, workers, task):
        child = _measure_latency(folder, stage, trained)
        remove_checkpoints(stage, folder)
        now = Searched(stage.plan, partner, stage.children, stage.best, {})
        _write_table(folder, [*before, now])
        page.write_report(folder, [*before, now], {**search.facts, "command": "", "finished": False})
        words = page.describe_child(now, child, rules.metric)
        ended = earlier + len(now.ended)
        log.info("%d children: %s", ended, words)
        advance(ended, words)
    best = stage.best
    if best is None:
        raise SonoforgeError(
            f"{folder}: all {len(stage.children)} {stage.name}s diverged before they were measured; try a lower "
            "--learning-rate"
        )
    apart = measure_apart(child_folder(folder, stage.name, best.member), search.opened)
    found = Searched(stage.plan, partner, stage.children, best, apart)
    _write_table(folder, [*before, found])
    return found


def _plan(search: _Search, name: str) -> StagePlan:
    config = search.config
    evolution = Evolution(
        strategy=config.strategy,
        population=config.population or 0,
        children=config.children or 0,
        sample=config.sample or 0,
        mutation=config.mutation,
        heirs=config.weights == "inherited",
        seed=config.gan.seed,
    )
    return StagePlan(evolution, space_of(name, search.image_size), tuple(config.proxies or ()), config.deterministic)


def _partner(search: _Search, name: str, before: list[Searched]) -> str:
    """Return the code of the network beside the one that is searched."""
    other = NETWORKS[name]
    for own in before:
        if own.stage == other and own.best is not None:
            return str(own.best.member.code)
    given = getattr(search.config.gan, f"{other}_cell") or FIRST_PARTNERS[name]
    return str(resolve(given, other, search.image_size))


def _measure_latency(folder: Path, stage: Stage, child: Child) -> Child:
    """Keep how fast a child's generator draws; discriminators are not deployed."""
    checkpoints = child_folder(folder, stage.name, child.member) / "checkpoints"
    if stage.name != "generator" or "latency_ms" in child.details or not checkpoints.is_dir():
        return child
    try:
        latency = generator_latency(gan_checkpoint.find_checkpoint(checkpoints.parent))
    except GateError as error:
        log.warning("%s: no latency: %s", checkpoints.parent.name, error)
        return child
    child = dataclasses.replace(child, details={**child.details, "latency_ms": latency})
    stage.tell(child)
    return child


def _write_table(folder: Path, searched: list[Searched]) -> None:
    write_table(folder / page.TABLE, COLUMNS, [child_row(own, child) for own in searched for child in own.ended])


def _final_command(search: _Search, searched: list[Searched]) -> str:
    """Return the ``gan train`` of the best pair, with the recipe's own numbers where the preset has others."""
    codes: dict[str, Any] = {f"{NETWORKS[own.stage]}_cell": own.partner for own in searched}
    codes |= {f"{own.stage}_cell": str(own.best.member.code) for own in searched if own.best is not None}
    preset: dict[str, Any] = dict.fromkeys({"kimg", "epochs", *PRESETS[search.config.preset]["gan"]} - {"image_size"})
    own = dataclasses.replace(search.opened.job.settings, **codes, **preset, metric_features="", metric_weights="")
    return train_command(data_flags(search.config.data), own)


def _facts(config: SearchConfig, opened: Opened) -> dict[str, object]:
    setup = set_up_trial(opened.images, opened.job)
    limit = f" or {config.child_minutes:g} minutes" if config.child_minutes else ""
    length = f"{setup.plan.steps * setup.images_per_step / 1000:.3g} thousand images shown{limit}"
    plan = setup.plan
    proxies = {"halving": "halving", "trend": "trend"}
    early = " and ".join(proxies[name] for name in config.proxies or () if name != "none")
    if config.strategy == "aging":
        words = f"Ageing evolution: population {config.population}, the best of {config.sample} drawn is the parent"
    else:
        words = f"Cycles of {config.population} random codes"
    return {
        "name": f"{opened.images.name}, {config.gan.class_name}" if config.gan.class_name else opened.images.name,
        "metric": config.metric,
        "held_out": len(setup.held_out) if setup.held_out else 0,
        "apart": len(opened.apart) if opened.apart else 0,
        "trained": len(setup.images),
        "features": opened.job.space.name if opened.job.space else "",
        "budget": f"each child for {length}, {plan.image_size} x {plan.image_size} pixels, batches of {plan.batch}",
        "strategy": f"{words}; mutation {config.mutation:g} for each element"
        + (f"; given up early by {early}." if early else "; none given up early."),
        "inherited": config.weights == "inherited",
    }
