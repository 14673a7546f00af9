"""``report.html``: what a run asked, found and cannot know, in one self-contained file.

The page prints the run's results and adds what it recomputes from the run folder itself (`evidence`); where
the two disagree it says so and `write_report` fails.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from PIL import Image

from sonoforge.runtime.errors import GateError
from sonoforge.training import run_folder
from sonoforge.training.crossval.arms import title_of
from sonoforge.training.crossval.budget_choice import chosen_seeds, describe_choice
from sonoforge.training.crossval.choice_grid import choosing_of, name_grid, name_values
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import BUSI_CLASSES, is_busi
from sonoforge.training.data.simulated import count_simulated
from sonoforge.training.gan.checkpoint import COLLAPSE_FRACTION
from sonoforge.training.pages.clusters import cluster_cards
from sonoforge.training.pages.embedding import Picture, embed
from sonoforge.training.pages.run import charts, statements
from sonoforge.training.pages.run.classes import compared, one_against_rest, wrong_cards
from sonoforge.training.pages.run.evidence import (
    GeneratorRuns,
    check_predictions,
    check_reads,
    class_counts,
    origin_checks,
    read_generators,
    read_plans,
    reliability,
    split_checks,
)
from sonoforge.training.pages.run.learning_curve import curve_charts
from sonoforge.training.pages.shell import write_page
from sonoforge.training.pages.terminal.choices import count_chosen, describe_cost
from sonoforge.training.statistics import tables
from sonoforge.training.statistics.calibration import cross_fitted_temperature
from sonoforge.training.statistics.flagged import ENOUGH
from sonoforge.training.statistics.learning_curve import split_share
from sonoforge.training.statistics.predictions import Predictions, read_predictions
from sonoforge.training.statistics.published import PUBLISHED
from sonoforge.training.statistics.results import ArmResult, ComparisonRow, IntervalResult, RunResults
from sonoforge.training.statistics.verdict import (
    Verdict,
    flipped,
    gan_comparison,
    judge,
    judge_arm,
    judge_gan,
)
from sonoforge.training.statistics.wording import bracket, counted, is_number, number, points, share, why_not_detectable

REPORT = "report.html"
# More than these are counted but not shown, so that the page stays readable and below 6 MB.
_CHARTED_GENERATORS = 8  # classes
_CHARTED_CALIBRATIONS = 6  # arms
_WATCHED = 6  # arms
_SAMPLED_CLASSES = 8
_MIXED_CLUSTERS, _PLAIN_CLUSTERS, _CLUSTER_IMAGES = 4, 3, 10
_GRID = 640  # pixels, the side of a sample grid: 160 an image, about 80 kB


def write_report(folder: Path, cache: ImageCache, audited: Mapping[str, Any], results: RunResults) -> Path:
    """Write ``RUN/report.html`` of a run folder that holds everything else.

    Raises:
        GateError: What the page recomputes is not what the results say; the page is written and shows where.
    """
    context = _context(folder, cache, audited, results)
    path = write_page(folder / REPORT, "run/page.html.j2", context)
    failed = [check for check in context["checks"] if not check.passed]
    if failed:
        raise GateError(
            f"{path}: {len(failed)} checks of the results against the run folder failed; the first: {failed[0].what}: "
            f"found {failed[0].found}; do not use these results"
        )
    return path


def _context(folder: Path, cache: ImageCache, audited: Mapping[str, Any], results: RunResults) -> dict[str, Any]:
    """Collect what the page shows; see `write_report` for the arguments."""
    runs = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["runs"]
    parts, classes = read_predictions(folder / "predictions.csv")
    plans = read_plans(folder)
    plan = next(iter(plans.values()))
    arms, split = results["arms"], results["split"]
    comparisons = _with_placebo(results["comparisons"], parts, classes)
    reads = check_reads(folder, plans)
    twins = sum(split["test_images_with_a_twin_in_training"])
    generators = read_generators(folder, classes)
    sampled = [name for name in classes if all(_grid(folder, kind, name).is_file() for kind in ("real", "generated"))]
    clusters = _handful(audited["clusters"])
    checks = [
        *origin_checks(folder, plans, reads, cache.contents),
        *split_checks(plans, reads, twins),
        *check_predictions(parts, arms, len(plan.tested)),
    ]
    facts = statements.RunFacts(
        protocol=results["protocol"],
        folds=split["folds"],
        images=split["images"],
        tested=sum(split["fold_sizes"]),
        groups=split["groups"],
        classes=len(classes),
        arms=tuple(arms),
        filled=tuple(runs.name for runs in generators),
        added=tuple(arms["gan"]["generated_per_fold"]) if "gan" in arms else (),
        simulated=count_simulated(cache.dataset),
        given_groups=audited["given_groups"] or 0,
        second_views=len(split["second_opinion"]["possible_second_views"]),
        twins=twins,
        generator_reads=len({image for _, image in reads["generator"].same_content}) if "generator" in reads else 0,
        passed=all(check.passed for check in checks),
    )
    return {
        "folder": folder.resolve().name,
        "run": facts,
        "said": statements,
        "choice": describe_choice(
            results["budget"],
            results["classifier"],
            split["chosen_on"],
            split["images"],
            list(plans),
            choosing_of(results),
        ),
        "chosen_seeds": chosen_seeds(results["budget"], split["chosen_on"]),
        "nested": results.get("choice"),
        "name_values": name_values,
        "name_grid": name_grid,
        "count_chosen": count_chosen,
        "describe_cost": describe_cost,
        "asks_gan": gan_comparison(comparisons) is not None,
        "config": (folder / run_folder.CONFIG).read_text(encoding="utf-8"),
        "environment": runs[-1],
        "runs": len(runs),
        "command": command_line(runs[-1]["command"]),
        "results": results,
        "split": split,
        "classes": classes,
        "arms": arms,
        "titles": _titles(arms),
        "verdicts": _conclude(arms, comparisons, statements.explain_leaks(facts)),
        "facts": _facts(results, comparisons),
        "budget": statements.gan_budget(results["gan"], results["budget"], [r.name for r in generators])
        if generators
        else "",
        "audit": audited,
        "cards": cluster_cards(clusters, cache),
        "plans": list(plans.values()),
        "fold_counts": class_counts(plan, len(classes)).tolist(),
        "twins": twins,
        "reads": reads,
        "checks": checks,
        "comparisons": comparisons,
        "judge": judge,
        "is_number": is_number,
        "charts": _charts(arms, comparisons, parts),
        "curves": curve_charts(results.get("learning_curves", []), _titles(arms) | _plain_titles(arms)),
        "interest": one_against_rest(results, comparisons),
        "never": results.get("never_right"),
        "never_cards": wrong_cards(results["never_right"]["worst"], cache) if "never_right" in results else [],
        "generators": generators,
        "trainings": sum(len(runs.curves) for runs in generators),
        "collapsed": sum(runs.collapsed_at_end for runs in generators),
        "generator_charts": _generator_charts(generators),
        "samples": [_samples(folder, name) for name in sampled[:_SAMPLED_CLASSES]],
        "samples_left_out": sampled[_SAMPLED_CLASSES:],
        "busi": is_busi(split["fingerprint"]),
        "busi_classes": BUSI_CLASSES,
        "published": PUBLISHED,
        "manifest": json.loads((folder / "bundle" / "manifest.json").read_text(encoding="utf-8")),
        "collapse": COLLAPSE_FRACTION,
        "enough": ENOUGH,
    }


def _plain_titles(arms: Mapping[str, ArmResult]) -> dict[str, str]:
    """Titles of the arms whatever their share of the real images, as learning curves name them."""
    return {name: title_of(name) for name in (split_share(arm)[0] for arm in arms)}


def _titles(arms: Mapping[str, ArmResult]) -> dict[str, str]:
    return {name: figures["title"] for name, figures in arms.items()}


def _with_placebo(
    comparisons: Sequence[ComparisonRow], parts: Sequence[Predictions], classes: Sequence[str]
) -> list[ComparisonRow]:
    """Add the comparison of generated with duplicated images where both arms ran and neither is the baseline."""
    first_seed = {part.arm: part for part in parts if part.seed == parts[0].seed}
    known = {frozenset((row["first"], row["second"])) for row in comparisons}
    pair = ("duplicates", "gan")
    if not set(pair) <= set(first_seed) or frozenset(pair) in known:
        return list(comparisons)
    return [*comparisons, tables.compare_arms(first_seed[pair[0]], first_seed[pair[1]], classes)]


def _conclude(arms: Mapping[str, ArmResult], comparisons: Sequence[ComparisonRow], leaks: str) -> list[Verdict]:
    """Answer the run's question: does the GAN help; without that arm, what each other arm changes."""
    gan = gan_comparison(comparisons)
    if gan is None:
        return [judge_arm(row, arms) for row in comparisons]
    placebo = None
    for row in comparisons:
        if {row["first"], row["second"]} == {"duplicates", "gan"} and gan["first"] != "duplicates":
            placebo = row if row["second"] == "gan" else flipped(row)
    return [judge_gan(gan, placebo, arms, leaks)]


class Fact(NamedTuple):
    """A figure of the first screen."""

    what: str
    value: str
    detail: str


def _facts(results: RunResults, comparisons: Sequence[ComparisonRow]) -> list[Fact]:
    figures, split = results["arms"][results["final_arm"]], results["split"]
    accuracy, area = figures["accuracy"], figures["macro_auc"]
    known = {name: row for name, row in figures["sensitivity"].items() if is_number(row["value"])}
    worst = min(known, key=lambda name: known[name]["value"])
    rows = [
        Fact("Accuracy", share(accuracy["value"]), f"{_interval(accuracy)}; {figures['title']}"),
        Fact(
            "Macro-AUC",
            number(area["value"]),
            f"95 % interval {bracket(number(area['low']), number(area['high']))}",
        ),
        Fact(f"Lowest sensitivity: {worst}", share(known[worst]["value"]), _interval(known[worst])),
    ]
    gan = gan_comparison(comparisons)
    if gan is not None:
        change, smallest = gan["accuracy_difference"], gan["minimum_detectable_difference"]
        least = f"smallest change this run can be expected to detect: {points(smallest, sign='')}"
        if not is_number(smallest):
            why = why_not_detectable(gan)
            least = f"the smallest change this run can detect cannot be computed: {why}"
        detail = f"{_interval(change, '+')}; {least}"
        rows.append(Fact("Change in accuracy with the GAN", f"{points(change['value'])} points", detail))
    twins = sum(split["test_images_with_a_twin_in_training"])
    of_all = f"of {counted(sum(split['fold_sizes']), 'test image')}"
    return [*rows, Fact("Test images with a near-duplicate in training", str(twins), of_all)]


def _interval(figure: IntervalResult, sign: str = "") -> str:
    return f"95 % interval {bracket(points(figure['low'], sign=sign), points(figure['high'], sign=sign))}"


class Charts(NamedTuple):
    """The charts of results, training and calibration; ``reliability`` by title of the arm.

    ``watched`` has title, accuracy and loss by epoch of the arms whose test images were looked at after each epoch.
    """

    folds: Markup
    differences: Markup
    loss: Markup
    accuracy: Markup
    watched: list[tuple[str, Markup, Markup]]
    reliability: list[tuple[str, Markup]]
    risk_coverage: Markup


def _charts(
    arms: Mapping[str, ArmResult], comparisons: Sequence[ComparisonRow], parts: Sequence[Predictions]
) -> Charts:
    titles = _titles(arms)
    differences = [
        charts.Difference(compared(row, titles), row["accuracy_difference"], row["minimum_detectable_difference"])
        for row in comparisons
    ]
    diagrams = []
    for name in list(arms)[:_CHARTED_CALIBRATIONS]:
        part = next(p for p in parts if p.arm == name)
        calibrated = cross_fitted_temperature(part.labels, part.probabilities, part.parts)
        raw_bins, bins = (reliability(part.labels, p, part.groups) for p in (part.probabilities, calibrated))
        diagrams.append((titles[name], charts.reliability_diagram(raw_bins, bins, titles[name])))
    return Charts(
        folds=charts.fold_strip(arms),
        differences=charts.difference_forest(differences, "accuracy") if comparisons else Markup(),
        loss=charts.learning_curves(arms, "loss", "training loss"),
        accuracy=charts.learning_curves(arms, "accuracy", "training accuracy"),
        watched=[
            (figures["title"], drawn, charts.train_and_test(figures, "loss", "loss"))
            for figures in list(arms.values())[:_WATCHED]
            if (drawn := charts.train_and_test(figures, "accuracy", "accuracy"))
        ],
        reliability=diagrams,
        risk_coverage=charts.risk_coverage(arms),
    )


def _generator_charts(generators: Sequence[GeneratorRuns]) -> list[tuple[str, Markup, Markup]]:
    """Draw the first few classes' generators: class, losses, diversity."""
    return [
        (runs.name, charts.generator_losses(runs), charts.generator_diversity(runs))
        for runs in generators[:_CHARTED_GENERATORS]
        if any(runs.curves)
    ]


def _handful(clusters: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Choose a few clusters to show: those with mixed labels first, then the largest of one label."""
    small = [cluster for cluster in clusters if len(cluster["files"]) <= _CLUSTER_IMAGES]
    mixed = [cluster for cluster in small if cluster["mixed"]]
    return mixed[:_MIXED_CLUSTERS] + [cluster for cluster in small if not cluster["mixed"]][:_PLAIN_CLUSTERS]


def _samples(folder: Path, name: str) -> tuple[str, Picture, Picture]:
    """Read one class's grids of real and generated images."""
    pictures = []
    for kind, words in (("real", "real training"), ("generated", "generated")):
        with Image.open(_grid(folder, kind, name)) as image:
            pictures.append(embed(image, _GRID, f"Grid of {words} images of class {name}"))
    return name, pictures[0], pictures[1]


def _grid(folder: Path, kind: str, name: str) -> Path:
    return folder / "samples" / f"{kind}-{name}.png"


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that made the run, ready to paste; ``--resume`` would only return the finished run."""
    program, rest = Path(arguments[0]).name if arguments else "sonoforge", list(arguments[1:])
    program = "sonoforge" if program in ("sonoforge.exe", "main.py", "__main__.py") else program
    return shlex.join([program, *(word for word in rest if word != "--resume")])
