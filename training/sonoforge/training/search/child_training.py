"""The training of one child, in a folder of its own; one that has ended is not begun again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.gan.networks import outline_networks
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.setup import TrainingSetup
from sonoforge.training.gan.starting_weights import read_starting_weights
from sonoforge.training.search.children import Child, child_folder
from sonoforge.training.search.early_stopping import EarlyStopping
from sonoforge.training.trials.source import Opened, Source, open_source
from sonoforge.training.trials.training import Limits, set_up_trial, train_trial

RECORD = "child.json"


@dataclasses.dataclass(frozen=True)
class Rules:
    """How the children of a stage are trained and measured."""

    seed: int
    metric: str  # that the search minimises: `kid` or `fid`
    partner: str  # code of the other network, the same for all children of the stage
    minutes: float | None = None  # that a child may train


class ChildTask(NamedTuple):
    """One child, for this process or another."""

    stage: str
    child: Child
    source: Source
    rules: Rules
    folder: Path  # of this child
    weights: Path | None  # folder of the child whose weights it starts with
    run: Path  # the run folder


def child_settings(settings: GanSettings, stage: str, child: Child, rules: Rules) -> GanSettings:
    """Return the settings that a child trains with; its seed follows from the search's, the stage and its number."""
    codes = {"generator": rules.partner, "discriminator": rules.partner, stage: str(child.member.code)}
    seed = derive_seed(rules.seed, f"training of a {stage}", child.member.number, bits=32)
    return dataclasses.replace(
        settings, generator_cell=codes["generator"], discriminator_cell=codes["discriminator"], seed=seed
    )


def set_up_child(opened: Opened, settings: GanSettings, weights: Path | None) -> TrainingSetup:
    """Make a child's training ready.

    Raises:
        SonoforgeError: Settings that do not go together, or too few images.
    """
    start_from = read_starting_weights(weights) if weights is not None else None
    job = dataclasses.replace(opened.job, settings=settings, start_from=start_from)
    return set_up_trial(opened.images, job)


def train_child(task: ChildTask) -> Child:
    """Train a child, or go on with it, and keep how it ended as ``child.json``."""
    path = task.folder / RECORD
    if path.is_file():
        return _with(task.child, json.loads(path.read_text(encoding="utf-8")))
    opened = open_source(task.source, task.rules.seed)
    settings = child_settings(opened.job.settings, task.stage, task.child, task.rules)
    setup = set_up_child(opened, settings, task.weights)
    limits = Limits(EarlyStopping(task.child.bars), task.rules.minutes, task.rules.metric)
    result = train_trial(opened.images, setup, task.folder, limits, task.run)
    pair = outline_networks(setup.recipe, setup.options, setup.seen)
    outlines = dict(zip(("generator", "discriminator"), pair, strict=True))
    parameters = sum(parameter.numel() for parameter in outlines[task.stage].parameters())
    record = {**result._asdict(), "details": {**result.details, "parameters": parameters}}
    write_json(path, record)
    return _with(task.child, record)


def reads(task: ChildTask) -> tuple[Path, ...]:
    """Return what a child reads from the run folder: what it has done so far, and the weights that it inherits."""
    return (task.folder,) if task.weights is None else (task.folder, task.weights)


def _with(child: Child, record: dict[str, Any]) -> Child:
    reports = tuple((int(number), float(value)) for number, value in record["reports"])
    return dataclasses.replace(child, state=record["state"], reports=reports, details=record["details"])


def weights_of(run: Path, stage: str, child: Child, children: list[Child]) -> Path | None:
    """Return the folder of the child whose weights this one starts with."""
    heir_of = child.member.heir_of
    return None if heir_of is None else child_folder(run, stage, children[heir_of].member)
