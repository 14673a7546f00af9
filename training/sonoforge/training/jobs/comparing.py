"""Compare arms by cross-validation: `prepare` opens and checks all, `work` trains and writes.

``leakage`` is three comparisons in one run folder, under the protocols `LEAKS`; every other protocol is one.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.crossval import final_model, preparation
from sonoforge.training.crossval.arms import final_name, find_arm
from sonoforge.training.crossval.choices import count_chosen_on, describe_choice
from sonoforge.training.crossval.comparison import compare_once
from sonoforge.training.crossval.evidence import read_answers
from sonoforge.training.crossval.fold_task import check_finished, check_images
from sonoforge.training.crossval.options import ComparisonConfig
from sonoforge.training.crossval.settings import ComparisonSettings, resolve
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import load_images
from sonoforge.training.settings.crossval import LEAKAGE, CrossvalConfig
from sonoforge.training.statistics.between_runs import LEAKS, measure_leakage
from sonoforge.training.statistics.predictions import ANSWERS, Predictions, read_predictions, write_predictions
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.tables import evaluate

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run that can start: what it needs is open and checked, and nothing is written."""

    config: ComparisonConfig
    name: str  # of the run folder, after its number
    asked: dict[str, Any]  # for `config.yaml`
    cache: ImageCache
    settings: dict[str, ComparisonSettings]  # by sub-folder: the protocol under `LEAKAGE`, else "", the folder itself
    parts: dict[str, preparation.Prepared]  # likewise, without those that are finished
    earlier: Path | None  # folder of the run that is continued, or was finished; None: there is none
    disk: str  # what is written, and how much is free

    @property
    def first(self) -> ComparisonSettings:
        """The settings of the comparison, or of the sealed one."""
        return next(iter(self.settings.values()))

    def open_folder(self) -> Path:
        """Return the run folder, made if there is none."""
        out, resume = Path(self.config.out), self.config.resume
        return self.earlier or run_folder.start_run(out, self.name, self.asked, resume=resume)

    def describe(self) -> str:
        """Say what would run, in a few lines."""
        if not self.parts:
            return f"would train: nothing, {self.earlier} is finished"
        trained = [f"would train: {part.trained}" for part in self.parts.values()]
        return "\n".join([*trained, *next(iter(self.parts.values())).material, f"disk: {self.disk}"])


@dataclass(frozen=True, eq=False)
class Compared:
    """A finished comparison."""

    folder: Path  # of the run
    results: Record  # as in ``results.json``
    prepared: Prepared

    @property
    def predictions(self) -> list[Predictions]:
        """The answers to every test image, by arm and seed."""
        return read_predictions(self.folder / ANSWERS)[0]


def prepare(config: ComparisonConfig, verb: str = "crossval", final_arm: str | None = None) -> Prepared:
    """Open the images, find the run to resume, and check everything that the rest of it needs.

    Args:
        config: The options of ``crossval`` or ``run``.
        verb: First word of the run folder's name.
        final_arm: The arm of the final model; None if there is to be none.

    Raises:
        SonoforgeError: Something is missing or does not fit. No run folder was made.
        GateError: The generators would start from a run that was trained on these images.
    """
    leaks = config.protocol == LEAKAGE
    protocols = LEAKS if leaks else (config.protocol,)
    settings = {
        name if leaks else "": dataclasses.replace(
            resolve(dataclasses.replace(config, protocol=name)), final_arm=final_arm
        )
        for name in protocols
    }
    first = next(iter(settings.values()))
    if final_arm and final_arm not in first.arms:
        raise SonoforgeError(
            f"--final-arm: {final_arm!r} must be one of --arms ({', '.join(first.arms)}), so that its figures are known"
        )
    cache = load_images(first.source)
    settings = {name: own.for_images(cache) for name, own in settings.items()}
    if leaks:  # without a generator, plain folds and those of the thesis are the same
        thesis = settings.pop("thesis")
        arms = tuple(arm for arm in thesis.arms if find_arm(arm).reads_generators)
        settings |= {"thesis": dataclasses.replace(thesis, arms=arms)} if arms else {}
    asked = {**next(iter(settings.values())).asked, "protocol": config.protocol}
    asked.pop("from_predictions", None)
    name = f"{'leakage' if leaks else verb}-{cache.dataset.name}"
    earlier = run_folder.resume_run(Path(config.out), name, asked) if config.resume else None
    parts: dict[str, preparation.Prepared] = {}
    for part, own in settings.items():
        folder = earlier / part if earlier else preparation.NOWHERE
        check_images(folder, cache)
        if run_folder.is_finished(folder):
            check_finished(folder, own, cache)
        else:
            parts[part] = preparation.prepare(cache, own, folder, next(iter(parts.values()), None))
    needed: Counter[str] = sum((Counter(part.disk) for part in parts.values()), Counter())
    disk = run_folder.check_disk(Path(config.out), needed)
    return Prepared(config, name, asked, cache, settings, parts, earlier, disk)


def work(prepared: Prepared) -> Compared:
    """Run what was prepared in its run folder; a finished run is read.

    Raises:
        GateError: A training would see its test images, or what looks like one of them.
    """
    folder = prepared.open_folder()
    with run_folder.working_in(folder):
        for name, settings in prepared.settings.items():
            if name:
                log.info("== protocol %s: %s", name, ", ".join(settings.arms))
                (folder / name).mkdir(exist_ok=True)
            part = prepared.parts.get(name)
            results = compare_once(folder / name, part) if part else run_folder.read_results(folder / name)
        if prepared.config.protocol == LEAKAGE:
            results = _measure_leakage(folder, prepared)
    return Compared(folder, results, prepared)


def _measure_leakage(folder: Path, prepared: Prepared) -> Record:
    """Compare the answers under each protocol image by image; write them together, and the results."""
    parts = [part for name in prepared.settings for part in read_predictions(folder / name / ANSWERS)[0]]
    write_predictions(folder / ANSWERS, parts, prepared.cache.dataset.classes)
    sealed, cache = prepared.first, prepared.cache
    classifier, known = dataclasses.asdict(sealed.classifier), count_chosen_on(sealed.budget, cache)
    choice = describe_choice(sealed.budget, classifier, known, len(cache.hashes), sealed.seeds)
    results = {**measure_leakage(parts), "choice": choice}
    run_folder.write_results(folder, results)
    return results


def train_final_model(compared: Compared, arm: str, name: str = "") -> None:
    """Train an arm of a finished comparison on all images, in its run folder, which `export` then reads.

    Args:
        compared: The comparison; of ``leakage``, it is none.
        arm: Name of an arm that is fine-tuned on all real images.
        name: Of the model; by default the data set's.

    Raises:
        SonoforgeError: The comparison has no such arm, or another model is in its folder.
    """
    prepared, arm = compared.prepared, final_name(arm, "arm")
    if "" not in prepared.settings:
        raise SonoforgeError(f"{compared.folder}: compares protocols, not arms; compare under one protocol")
    part = prepared.parts.get("") or preparation.prepare(prepared.cache, prepared.first, compared.folder)
    name = name or final_model.default_name(prepared.first.network, prepared.cache.dataset)
    with run_folder.working_in(compared.folder):
        final_model.train_final_model(compared.folder, part, compared.results, arm, name)


def read_again(config: CrossvalConfig) -> Record:
    """Compute every figure from just the predictions of ``config.from_predictions``.

    Returns:
        ``doubt``, empty if the table's run folder vouches for it; ``classes`` and the figures of `evaluate`, or those
        of `measure_leakage`.

    Raises:
        SonoforgeError: Other options are also given, or the file is not such a table.
    """
    if dataclasses.replace(config, from_predictions="") != CrossvalConfig():
        raise SonoforgeError("--from cannot be combined with other options")
    parts, classes, doubt = read_answers(Path(config.from_predictions))
    if {part.protocol for part in parts} >= {"sealed", "plain"}:
        return {"doubt": doubt, **measure_leakage(parts)}
    return {"classes": list(classes), "doubt": doubt, **evaluate(parts, classes)}
