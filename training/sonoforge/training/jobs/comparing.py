"""Compare arms by cross-validation: `prepare` opens and checks all, `work` trains and writes.

``leakage`` is three comparisons in one run folder, under the protocols `LEAKS`; every other protocol is one.
"""

import dataclasses
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.crossval import final_model, preparation
from sonoforge.training.crossval.arms import final_name, find_arm, for_classes
from sonoforge.training.crossval.choices import count_chosen_on, describe_choice
from sonoforge.training.crossval.comparison import compare
from sonoforge.training.crossval.evidence import read_answers, write_record
from sonoforge.training.crossval.fold_task import check_finished, check_images
from sonoforge.training.crossval.options import ComparisonConfig
from sonoforge.training.crossval.settings import ComparisonSettings, resolve
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import load_images
from sonoforge.training.data.second_opinion import foretell
from sonoforge.training.reports.conclusions import doubts_about
from sonoforge.training.settings.crossval import LEAKAGE, CrossvalConfig
from sonoforge.training.statistics.between_runs import LEAKS, measure_leakage
from sonoforge.training.statistics.predictions import ANSWERS, read_predictions, write_predictions
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.tables import evaluate

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run that can start: what it needs is open and checked, and nothing is written."""

    config: ComparisonConfig
    name: str  # of the run folder, after its number
    asked: dict[str, Any]  # for ``config.yaml``
    cache: ImageCache
    settings: dict[str, ComparisonSettings]  # by sub-folder: the protocol under `LEAKAGE`, else "", the run folder
    parts: dict[str, preparation.Prepared]  # likewise, without the finished ones
    disk: str  # what is written, and how much is free

    def open_folder(self) -> Path:
        """Return the run folder, made unless there is one to resume."""
        return run_folder.open_run(Path(self.config.out), self.name, self.asked, resume=self.config.resume)

    def describe(self) -> str:
        """Say what would run, in a few lines."""
        lines = [line for part in self.parts.values() for line in (*part.describe(), *foretell(part.cache, part.plans))]
        return "\n".join([*dict.fromkeys(lines), f"disk: {self.disk}"]) if lines else "to train: nothing, it is done"


@dataclass(frozen=True, eq=False)
class Compared:
    """A finished comparison."""

    folder: Path  # of the run
    results: Record  # as in ``results.json``
    prepared: Prepared


def prepare(config: ComparisonConfig, verb: str = "crossval", final_arm: str | None = None) -> Prepared:
    """Open the images, and check everything that the run needs, or the rest of the one to resume.

    Args:
        config: The options of ``crossval`` or ``run``.
        verb: First word of the run folder's name.
        final_arm: The arm of the final model; None if there is to be none.

    Raises:
        SonoforgeError: Something is missing or does not fit. No run folder was made.
        GateError: The generators would start from a run that was trained on these images.
    """
    leaks, out = config.protocol == LEAKAGE, Path(config.out)
    settings = {}
    for protocol in LEAKS if leaks else (config.protocol,):
        own = dataclasses.replace(resolve(dataclasses.replace(config, protocol=protocol)), final_arm=final_arm)
        settings[protocol if leaks else ""] = own
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
    earlier = run_folder.find_run(out, name, asked) if config.resume else None
    parts: dict[str, preparation.Prepared] = {}
    for part, own in settings.items():
        folder = earlier / part if earlier else preparation.NOWHERE
        check_images(folder, cache)
        if run_folder.is_finished(folder):
            check_finished(folder, own, cache)
        else:
            parts[part] = preparation.prepare(cache, own, folder, next(iter(parts.values()), None))
    needed: Counter[str] = sum((part.disk for part in parts.values()), Counter())
    return Prepared(config, name, asked, cache, settings, parts, run_folder.check_disk(out, needed))


def work(prepared: Prepared) -> Compared:
    """Run what was prepared in its run folder; a finished run is read.

    Raises:
        GateError: A training would see its test images, or what looks like one of them.
    """
    folder = prepared.open_folder()
    with run_folder.working_in(folder):
        for name, part in prepared.parts.items():
            if name:
                log.info("== protocol %s: %s", name, ", ".join(part.settings.arms))
                (folder / name).mkdir(exist_ok=True)
            results = compare(folder / name, part)
            run_folder.write_results(folder / name, {"doubts": doubts_about(results), **results})
        if "" not in prepared.settings:
            _measure_leakage(folder, prepared)
    return Compared(folder, run_folder.read_results(folder), prepared)


def _measure_leakage(folder: Path, prepared: Prepared) -> None:
    """Compare the answers under each protocol image by image; write them together, and the results."""
    parts = [part for name in prepared.settings for part in read_predictions(folder / name / ANSWERS)[0]]
    write_predictions(folder / ANSWERS, parts, prepared.cache.dataset.classes)
    write_record(folder / ANSWERS)
    sealed, cache = prepared.settings["sealed"], prepared.cache
    classifier, known = dataclasses.asdict(sealed.classifier), count_chosen_on(sealed.budget, cache)
    choice = describe_choice(sealed.budget, classifier, known, len(cache.hashes), sealed.seeds)
    doubts = run_folder.read_results(folder / "sealed")["doubts"]
    run_folder.write_results(folder, {"doubts": doubts, **measure_leakage(parts), "choice": choice})


def train_final_model(compared: Compared, arm: str, name: str = "") -> None:
    """Train an arm of a finished comparison on all images, in its run folder, which `export` then reads.

    Args:
        compared: The comparison; not of ``leakage``.
        arm: Name of an arm that is fine-tuned on all real images.
        name: Of the model; by default the data set's.

    Raises:
        SonoforgeError: The comparison has no such arm, or another model is in its folder.
    """
    prepared, folder = compared.prepared, compared.folder
    if "" not in prepared.settings:
        raise SonoforgeError(f"{folder}: compares protocols, not arms; give a run of one protocol")
    cache = prepared.cache
    (arm,) = for_classes("arm", (final_name(arm, "arm"),), cache.dataset.classes, cache.class_counts)
    part = prepared.parts.get("") or preparation.prepare(cache, prepared.settings[""], folder)
    with run_folder.working_in(folder):
        final_model.train_final_model(folder, part, compared.results, arm, name)


def read_again(config: CrossvalConfig) -> Record:
    """Compute every figure from just the predictions of ``config.from_predictions``.

    Returns:
        ``doubt``, see `read_answers`; ``doubts`` of the figures; ``classes`` and the figures of `evaluate`, or those of
        `measure_leakage`.

    Raises:
        SonoforgeError: Other options are also given, or the file is not such a table.
    """
    if dataclasses.replace(config, from_predictions="") != CrossvalConfig():
        raise SonoforgeError("--from cannot be combined with other options")
    table = Path(config.from_predictions)
    parts, classes, doubt = read_answers(table)
    kept = run_folder.read_results(table.parent) if run_folder.is_finished(table.parent) else {}
    if {part.protocol for part in parts} >= {"sealed", "plain"}:
        found = measure_leakage(parts)
    else:
        found = {"classes": list(classes), **evaluate(parts, classes)}
    doubts = doubts_about({**found, "weights": kept.get("weights", "")}) or kept.get("doubts", [])
    return {"doubt": doubt, "doubts": doubts, **found}
