"""``report.html``: what a run asked, found and cannot know, in one self-contained file.

The page prints the run's results and adds what it recomputes from the run folder itself (`report_evidence`); where
the two disagree it says so and `write_report` fails.  It loads nothing: styles, charts and pictures are inside.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import GateError
from sonoforge.training import run_folder
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.gan.checkpoint import COLLAPSE_FRACTION
from sonoforge.training.pages.audit.page import cluster_pictures_html, cluster_style
from sonoforge.training.pages.embedded_images import handful, sample_pictures
from sonoforge.training.pages.run import plots as report_plots
from sonoforge.training.pages.run import words as report_words
from sonoforge.training.pages.run.evidence import (
    check_predictions,
    check_reads,
    class_counts,
    read_generators,
    read_plans,
    reliability,
    split_checks,
)
from sonoforge.training.pages.run.glossary import GLOSSARY
from sonoforge.training.pages.run.words import (
    Verdict,
    counted,
    gan_budget,
    gan_comparison,
    judge_arm,
    judge_gan,
    number,
    points,
    share,
)
from sonoforge.training.pages.svg import key
from sonoforge.training.statistics import tables
from sonoforge.training.statistics.calibration import cross_fitted_temperature
from sonoforge.training.statistics.predictions import Predictions, read_predictions

log = logging.getLogger(__name__)

REPORT = "report.html"
_CHARTED_GENERATORS = 8  # classes; more are listed in the table alone
_CHARTED_CALIBRATIONS = 6  # arms


def write_report(folder: Path, cache: ImageCache, audited: dict[str, Any], results: dict[str, Any]) -> Path:
    """Write ``RUN/report.html``.

    Args:
        folder: Run folder with ``config.yaml``, ``environment.json``, ``splits.json``, ``folds/``,
            ``predictions.csv`` and, where there are any, ``gan/``, ``samples/`` and ``bundle/``.
        cache: The images, for pictures of near-duplicates.
        audited: `data_audit.audit` of the same images.
        results: What `crossval.describe_setting` and `crossval.cross_validate` returned; with ``parity``,
            ``verify``, ``bundle_files``, ``final_arm``, ``published`` and ``seconds`` where there is a bundle.

    Returns:
        The page.

    Raises:
        GateError: What the page recomputes is not what the results say; the page is written and shows where.
    """
    context = build_context(folder, cache, audited, results)
    page = render(context)
    path = folder / REPORT
    atomic.write_text(path, page)
    log.info("report: %s of one self-contained page", report_words.size(len(page.encode())))
    failed = [check for check in context["checks"] if not check.passed]
    if failed:
        raise GateError(
            f"{path}: {len(failed)} checks of the results against the run folder failed; the first: {failed[0].what}: "
            f"found {failed[0].found}; do not use these results"
        )
    return path


def render(context: Mapping[str, Any]) -> str:
    """Render the page; everything that is not marked as safe is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_page_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = report_words
    environment.filters |= {"share": words.share, "points": words.points, "number": words.number, "tiny": words.tiny}
    environment.filters |= {"p_value": words.p_value, "duration": words.duration, "bytes": words.size}
    environment.filters |= {"listed": words.listed, "ends": _ends}
    environment.globals |= {"counted": words.counted, "key": key, "judge": words.judge}
    return environment.get_template("page.html.j2").render(context)


def _page_file(name: str) -> str:
    return resources.files("sonoforge.training.pages.run").joinpath("templates", name).read_text(encoding="utf-8")


def _ends(interval: Mapping[str, float], scale: float = 100, digits: int = 1, sign: str = "") -> str:
    """Print the ends of an interval, kept on one line: ``[82.9, 88.1]``."""
    low, high = (number(_scaled(interval[end], scale), digits, sign) for end in ("low", "high"))
    return f"[{low},\u00a0{high}]"


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def build_context(folder: Path, cache: ImageCache, audited: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Collect what the page shows; see `write_report` for the arguments."""
    config = run_folder.read_config(folder)
    runs = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["runs"]
    parts, classes = read_predictions(folder / "predictions.csv")
    plans = read_plans(folder)
    plan = next(iter(plans.values()))
    arms, split = results["arms"], results["split"]
    comparisons = with_placebo(results["comparisons"], parts)
    reads = check_reads(folder, plans)
    twins = sum(split["test_images_with_a_twin_in_training"])
    verdicts = conclude(arms, comparisons, results["protocol"])
    generators = read_generators(folder, classes)
    samples, samples_left_out = sample_pictures(folder, classes)
    main_arm = results.get("final_arm") or next(iter(arms))
    shown = handful(audited["clusters"]) if not audited["duplicates"]["shares_layout"] else []
    return {
        "style": Markup(_page_file("style.css") + cluster_style()),  # noqa: S704 - our own files
        "folder": folder.resolve().name,
        "simulated": config.get("data") == "phantom",
        "config": (folder / run_folder.CONFIG).read_text(encoding="utf-8"),
        "environment": runs[-1],
        "runs": len(runs),
        "command": command_line(runs[-1]["command"]),
        "results": results,
        "split": split,
        "classes": classes,
        "class_counts": dict(zip(results["classes"], results["class_counts"], strict=True)),
        "arms": arms,
        "main_arm": main_arm,
        "verdicts": verdicts,
        "facts": facts(arms, main_arm, comparisons, split),
        "budget": gan_budget(results["gan"], results["budget"], [r.name for r in generators]) if generators else "",
        "audit": audited,
        "clusters": Markup(cluster_pictures_html({**audited, "clusters": shown}, cache)) if shown else "",  # noqa: S704 - escaped there
        "clusters_shown": shown,
        "plans": list(plans.values()),
        "fold_counts": class_counts(plan, len(classes)).tolist(),
        "twins": twins,
        "reads": reads,
        "checks": [*split_checks(plans, reads, twins), *check_predictions(parts, arms, len(plan["files"]))],
        "comparisons": comparisons,
        "titles": {name: figures["title"] for name, figures in arms.items()},
        "charts": charts(arms, comparisons, parts),
        "generators": generators,
        "trainings": sum(len(runs.curves) for runs in generators),
        "collapsed": sum(runs.collapsed_at_end for runs in generators),
        "generator_charts": generator_charts(generators),
        "samples": samples,
        "samples_left_out": samples_left_out,
        "seconds": results.get("seconds", {}),
        "published": results.get("published", []),
        "busi_order": busi_order(classes),
        "manifest": read_manifest(folder),
        "collapse": COLLAPSE_FRACTION,
        "glossary": GLOSSARY,
    }


def with_placebo(comparisons: Sequence[dict[str, Any]], parts: Sequence[Predictions]) -> list[dict[str, Any]]:
    """Add the comparison of generated with duplicated images where both arms ran and neither is the baseline."""
    rows = list(comparisons)
    first_seed = {part.arm: part for part in parts if part.seed == parts[0].seed}
    known = {frozenset((row["first"], row["second"])) for row in rows}
    pair = ("duplicates", "gan")
    if set(pair) <= set(first_seed) and frozenset(pair) not in known:
        rows.append(dict(tables.compare_arms(first_seed[pair[0]], first_seed[pair[1]])))
    return rows


def conclude(arms: Mapping[str, Any], comparisons: Sequence[Mapping[str, Any]], protocol: str) -> list[Verdict]:
    """Answer the run's question: does the GAN help; without that arm, what each other arm changes."""
    gan = gan_comparison(comparisons)
    if gan is None:
        return [judge_arm(row, arms) for row in comparisons]
    placebo = None
    for row in comparisons:
        if {row["first"], row["second"]} == {"duplicates", "gan"} and gan["first"] != "duplicates":
            placebo = row if row["second"] == "gan" else report_words.flipped(row)
    return [judge_gan(gan, placebo, arms, protocol)]


def facts(
    arms: Mapping[str, Any], main_arm: str, comparisons: Sequence[Mapping[str, Any]], split: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """List the first screen's figures: what, value, detail."""
    figures = arms[main_arm]
    accuracy, area = figures["accuracy"], figures["macro_auc"]
    known = {name: row for name, row in figures["sensitivity"].items() if report_words.is_number(row["value"])}
    worst = min(known, key=lambda name: known[name]["value"])
    rows = [
        ("Accuracy", share(accuracy["value"]), f"95 % interval {_ends(accuracy)}; {figures['title']}"),
        ("Macro-AUC", number(area["value"]), f"95 % interval {_ends(area, 1, 3)}"),
        (
            f"Lowest sensitivity: {worst}",
            share(known[worst]["value"]),
            f"95 % interval {_ends(known[worst])}",
        ),
    ]
    gan = gan_comparison(comparisons)
    if gan is not None:
        change, smallest = gan["accuracy_difference"], gan["minimum_detectable_difference"]
        rows.append(
            (
                "Change in accuracy with the GAN",
                f"{points(change['value'])} points",
                f"95 % interval {_ends(change, sign='+')}; smallest change this run can be expected to find: "
                f"{points(smallest, sign='')}",
            )
        )
    twins = sum(split["test_images_with_a_twin_in_training"])
    rows.append(
        ("Test images with a near-duplicate in training", str(twins), f"of {counted(split['images'], 'image')}")
    )
    return rows


def charts(
    arms: Mapping[str, Any], comparisons: Sequence[Mapping[str, Any]], parts: Sequence[Predictions]
) -> dict[str, Any]:
    """Draw the charts of results, training and calibration."""
    titles = {name: figures["title"] for name, figures in arms.items()}
    diagrams = []
    for name in list(arms)[:_CHARTED_CALIBRATIONS]:
        part = next(p for p in parts if p.arm == name)
        calibrated = cross_fitted_temperature(part.labels, part.probabilities, part.folds)
        raw_bins, bins = reliability(part.labels, part.probabilities), reliability(part.labels, calibrated)
        diagrams.append((titles[name], report_plots.reliability_diagram(raw_bins, bins, titles[name])))
    return {
        "folds": report_plots.fold_strip(arms),
        "differences": report_plots.difference_forest(comparisons, titles) if comparisons else "",
        "loss": report_plots.learning_curves(arms, "loss", "training loss"),
        "accuracy": report_plots.learning_curves(arms, "accuracy", "training accuracy"),
        "reliability": diagrams,
    }


def generator_charts(generators: Sequence[Any]) -> list[tuple[str, Markup, Markup]]:
    """Draw losses and diversity of the first few classes' generators: class, losses, diversity."""
    return [
        (
            runs.name,
            report_plots.generator_curves(runs, ("discriminator_loss", "generator_loss"), "loss"),
            report_plots.generator_curves(runs, ("diversity",), "diversity", limits=True),
        )
        for runs in generators[:_CHARTED_GENERATORS]
        if any(runs.curves)
    ]


def busi_order(classes: Sequence[str]) -> list[str]:
    """Our names of normal, benign, malignant, in the published rows' order; empty for other classes."""
    by_name = {name.lower(): name for name in classes}
    wanted = ("normal", "benign", "malignant")
    return [by_name[name] for name in wanted] if set(by_name) == set(wanted) else []


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the bundle's manifest; None where the run made no bundle."""
    path = folder / "bundle" / "manifest.json"
    if not path.is_file():
        return None
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def command_line(arguments: Sequence[str]) -> str:
    """The command that made the run, ready to paste; ``--resume`` would only return what is there."""
    program, rest = Path(arguments[0]).name if arguments else "sonoforge", list(arguments[1:])
    program = "sonoforge" if program in ("sonoforge.exe", "main.py", "__main__.py") else program
    return shlex.join([program, *(word for word in rest if word != "--resume")])
