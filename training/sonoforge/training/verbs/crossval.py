"""``sonoforge crossval``: test whether a trained generator helps, in k folds, every arm on the same folds and seeds.

With ``--protocol leakage``, measure how much better figures look if training sees something of its test images.
"""

import dataclasses
import logging
from pathlib import Path

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.choices import count_chosen_on, describe_choice
from sonoforge.training.crossval.comparison import compare_once
from sonoforge.training.crossval.evidence import read_answers
from sonoforge.training.crossval.settings import resolve
from sonoforge.training.data.data_option import data_flags
from sonoforge.training.data.load import load_images
from sonoforge.training.reports.run.terminal import log_figures, log_systems, log_table
from sonoforge.training.reports.terminal import plain_table
from sonoforge.training.settings.crossval import LEAKAGE, CrossvalConfig
from sonoforge.training.statistics.between_runs import LEAK_STEPS, measure_leakage
from sonoforge.training.statistics.predictions import ANSWERS, Predictions, read_predictions, write_predictions
from sonoforge.training.statistics.results import Interval, Record
from sonoforge.training.statistics.tables import evaluate
from sonoforge.training.statistics.wording import bracket, is_number, points

log = logging.getLogger(__name__)

PROTOCOLS = ("sealed", "plain", "thesis")
"""The folds of ``--protocol leakage``."""
_CAUSES = (
    "near-duplicates in training (plain - sealed)",
    "generators that saw the test images (thesis - plain)",
    "both (thesis - sealed)",
)


def main(config: CrossvalConfig) -> Outcome:
    """Run the comparison in a run folder and write its tables; or print the tables of a ``predictions.csv`` again."""
    if config.from_predictions:
        return _print_again(config)
    if config.protocol == LEAKAGE:
        return _measure_leakage(config)
    settings = resolve(config)
    cache = load_images(settings.source)
    settings = settings.for_images(cache)
    asked = {key: value for key, value in settings.asked.items() if key != "from_predictions"}
    folder = run_folder.open_run(Path(config.out), f"crossval-{cache.dataset.name}", asked, resume=config.resume)
    with run_folder.working_in(folder):
        results = compare_once(folder, cache, settings)
        log_table(results)
    protocol = "" if config.protocol == CrossvalConfig().protocol else f" --protocol {config.protocol}"
    return Outcome({"run": str(folder), **results}, f"sonoforge run {data_flags(config.data)}{protocol}")


def _print_again(config: CrossvalConfig) -> Outcome:
    """Compute every figure from just the predictions.

    Raises:
        SonoforgeError: Other options are also given, or the file is not such a table.
    """
    if dataclasses.replace(config, from_predictions="") != CrossvalConfig():
        raise SonoforgeError("--from cannot be combined with other options")
    parts, classes, doubt = read_answers(Path(config.from_predictions))
    if {part.protocol for part in parts} >= {"sealed", "plain"}:
        found = measure_leakage(parts)
        _say_doubt(doubt)
        _log_leakage(found)
        return Outcome({"doubt": doubt, **found})
    evaluation = evaluate(parts, classes)
    _say_doubt(doubt)
    log_figures(classes, evaluation, doubt=doubt)
    log_systems(classes, evaluation["arms"], doubt=doubt)
    return Outcome({"classes": list(classes), "doubt": doubt, **evaluation})


def _say_doubt(doubt: str) -> None:
    """Warn about a table that no run folder confirms."""
    if doubt:
        say("%s; no run folder beside the table vouches for it", doubt)


def _measure_leakage(config: CrossvalConfig) -> Outcome:
    """Run the comparison under each protocol, in its own folder, and compare the answers image by image."""
    settings = {name: resolve(dataclasses.replace(config, protocol=name)) for name in PROTOCOLS}
    sealed = settings["sealed"]
    cache = load_images(sealed.source)
    settings = {name: own.for_images(cache) for name, own in settings.items()}
    asked = {key: value for key, value in sealed.asked.items() if key != "from_predictions"} | {"protocol": LEAKAGE}
    folder = run_folder.open_run(Path(config.out), f"leakage-{cache.dataset.name}", asked, resume=config.resume)
    parts: list[Predictions] = []
    with run_folder.working_in(folder):
        for name, own in settings.items():
            # Without a generator, plain folds and those of the thesis are the same.
            arms = tuple(arm for arm in own.arms if name != "thesis" or find_arm(arm).reads_generators)
            if arms:
                log.info("== protocol %s: %s", name, ", ".join(arms))
                (folder / name).mkdir(exist_ok=True)
                compare_once(folder / name, cache, dataclasses.replace(own, arms=arms))
                parts += read_predictions(folder / name / ANSWERS)[0]
        write_predictions(folder / ANSWERS, parts, cache.dataset.classes)
        classifier, known = dataclasses.asdict(sealed.classifier), count_chosen_on(sealed.budget, cache)
        choice = describe_choice(sealed.budget, classifier, known, len(cache.hashes), sealed.seeds)
        results = {**measure_leakage(parts), "choice": choice}
        run_folder.write_results(folder, results)
        _log_leakage(results)
        tell(choice)
    return Outcome({"run": str(folder), **results}, f"sonoforge crossval {data_flags(config.data)}")


def _log_leakage(found: Record) -> None:
    """Print the accuracy under each protocol, what each leak adds, and what remains of the gain."""
    seeds = ", ".join(map(str, found["seeds"]))
    tell(f"{found['images']} images in {found['groups']} groups, seeds {seeds}; in points, 95 % intervals by group")
    rows = [
        (arm, *(_points(accuracy[name], "") if name in accuracy else "as plain" for name in PROTOCOLS))
        for arm, accuracy in found["accuracy"].items()
    ]
    say("%s", plain_table(("accuracy, %", *PROTOCOLS), rows, (1, 2, 3)))
    for step in found["steps"]:
        cause = LEAK_STEPS.index((step["first"], step["second"]))
        tell(f"{step['arm']}: {_CAUSES[cause]}: {_points(step['accuracy'])}")
        if cause == 0:
            grouped, single = _points(step["accuracy_of_grouped"]), _points(step["accuracy_of_single"])
            tell(f"of the {found['grouped']} images with others in their group {grouped};", "  ")
            alone = found["images"] - found["grouped"]
            tell(f"of the {alone} alone, which no near-duplicate helps, {single}", "  ")
    for row in found["gains"]:
        tell(f"{row['arm']}: gain over {row['baseline']}:")
        for name, gain in row["gains"].items():
            leaks = f", of which leaks {_points(own)}" if (own := row["beyond_sealed"].get(name)) else ""
            tell(f"{name} {_points(gain)}{leaks}", "  ")


def _points(figure: Interval, sign: str = "+") -> str:
    if not is_number(figure["value"]):
        return "no such image"
    value, *ends = (points(end, sign=sign) for end in (figure["value"], figure["low"], figure["high"]))
    return f"{value} {bracket(*ends)}"
