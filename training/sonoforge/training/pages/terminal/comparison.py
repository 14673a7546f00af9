"""What ``crossval`` and ``run`` print of a comparison: the tables of its arms, and why they may be too good."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sonoforge.runtime.cli.answer import say
from sonoforge.training.comparators.table import COMPARATORS
from sonoforge.training.crossval.arms import find_arm, title_of
from sonoforge.training.crossval.budget_choice import CHOSEN_ON, describe_seeds
from sonoforge.training.crossval.choice_grid import name_values
from sonoforge.training.data.datasets import is_busi
from sonoforge.training.statistics.learning_curve import LARGEST_RATIO
from sonoforge.training.statistics.one_against_rest import classes_of_interest
from sonoforge.training.statistics.published import validated_like
from sonoforge.training.statistics.results import (
    ChoiceResult,
    ComparisonResults,
    ComparisonRow,
    EvaluatedArm,
    Evaluation,
    IntervalResult,
    LearningCurve,
    RealWorth,
    SplitResult,
    change_text,
    interval_text,
)
from sonoforge.training.statistics.wording import listed, why_not_detectable

_SHOWN = (0.02, 0.05, 0.10, 0.20, 0.50)  # thresholds of the decision curve


def log_table(results: ComparisonResults) -> None:
    """Print the tables, and why their figures come out too good where they do."""
    log_figures(results["classes"], results)
    log_choices(results.get("choice"), list(results["arms"]))
    say("")
    for figures in results["arms"].values():
        by_seed = figures["train_accuracy_by_seed"]
        own = [value for folds in by_seed for value in folds]
        seeds = f" of {len(by_seed)} seeds" if len(by_seed) > 1 else ""
        spread = f" ({min(own):.3f} to {max(own):.3f} by fold{seeds})" if len(own) > 1 else ""
        say(
            "%-*s accuracy on training images %.3f%s",
            title_width(results["arms"]),
            figures["title"],
            figures["train_accuracy"],
            spread,
        )
    for line in _published(results["split"]):
        say("%s", line)
    for warning in _warnings(results):
        say("%s", warning)


def log_figures(classes: Sequence[str], results: ComparisonResults | Evaluation) -> None:
    """Print what follows from the predictions alone: the arms, their paired comparisons, one class against the rest."""
    say("")
    width = title_width(results["arms"])
    say("%-*s %-24s %9s %9s", width, "arm", "accuracy (95 % by group)", "bal. acc.", "macro-AUC")
    for arm, figures in results["arms"].items():
        balanced, area = figures["balanced_accuracy"]["value"], figures["macro_auc"]["value"]
        say("%-*s %-24s %9.3f %9.3f", width, title_of(arm), interval_text(figures["accuracy"]), balanced, area)
    _log_seeds(results["arms"])
    _log_sources(results["arms"])
    for row in results["comparisons"]:
        change = change_text(row["accuracy_difference"])
        test = f"sign-flip test by group p {row['sign_flip_test']['p_value']:.3f}"
        power = _detectable(row, results["arms"][row["first"]])
        say("%s - %s: accuracy %s, %s; %s", row["second"], row["first"], change, test, power)
    for name in classes_of_interest(classes):
        _log_class(results, name)
    _log_never_right(results)
    log_curves(results.get("learning_curves", []))


def _log_seeds(arms: Mapping[str, EvaluatedArm]) -> None:
    """Print the accuracy of every seed where there are several; all else is of the first."""
    for arm, figures in arms.items():
        seeds = figures["seeds"]
        deviation = seeds["accuracy_sd"]
        if deviation is not None and len(seeds["seeds"]) > 1:
            each = ", ".join(f"{value:.3f}" for value in seeds["accuracy"])
            mean = sum(seeds["accuracy"]) / len(seeds["accuracy"])
            names = ", ".join(map(str, seeds["seeds"]))
            say("%s: accuracy with seeds %s: %s; mean %.3f +- %.3f", title_of(arm), names, each, mean, deviation)


def _log_sources(arms: Mapping[str, EvaluatedArm]) -> None:
    """Print how well the classes are told apart in each collection and on each device."""
    for arm, figures in arms.items():
        sources = figures.get("by_source", [])
        if sources:
            say("")
            say("%s, by collection and device (95 %% by group)", title_of(arm))
        for source in sources:
            counts = ", ".join(f"{count} {name}" for name, count in source["images"].items() if count)
            say("  %s %s: %s in %d groups", source["kind"], source["name"], counts, source["groups"])
            say("    %-36s %s", "accuracy", interval_text(source["accuracy"]))
            for pair, area in source["auc"].items():
                say("    AUC %-32s %s", pair, interval_text(area))
            for name, points in source["sensitivity_at"].items():
                for point in points:
                    aimed = f"sensitivity to {name}"
                    reached = point["specificity"]["value"]
                    say(
                        "    %-36s %s at %.3f specificity (aim %.2f)",
                        aimed,
                        interval_text(point["sensitivity"]),
                        reached,
                        point["aim"],
                    )
            say("    %-36s %s", "ECE, calibrated", interval_text(source["ece"]))
            say("    %-36s %s", "sets hold the true class", interval_text(source["coverage"]))
            for flag in figures.get("flags", []):
                if source["kind"] == "collection" and source["name"] in flag.get("by_collection", {}):
                    say("    %-36s %s", flag["flag"], interval_text(flag["by_collection"][source["name"]]))


def _log_class(results: ComparisonResults | Evaluation, name: str) -> None:
    """Print one class against the rest."""
    arms = {title_of(arm): figures["one_against_rest"][name] for arm, figures in results["arms"].items()}
    aims = [point["aim"] for point in next(iter(arms.values()))["sensitivity_at"]]
    say("")
    heads = [f"sensitivity at {100 * aim:.0f} % specificity" for aim in aims]
    width = title_width(results["arms"])
    say("%-*s %-22s %-32s %-32s", width, f"{name} against the rest", "AUC", heads[0], heads[1])
    for title, own in arms.items():
        cells = [
            f"{interval_text(point['sensitivity'])} at {point['specificity']['value']:.3f}"
            for point in own["sensitivity_at"]
        ]
        say("%-*s %-22s %-32s %-32s", width, title, interval_text(own["auc"]), cells[0], cells[1])
    say("each threshold was chosen on other test images; the specificity that it reached stands behind 'at'")
    for row in results["comparisons"]:
        change = row["one_against_rest"][name]
        p_value = change["p_value"]
        tested = "cannot be computed" if p_value is None or math.isnan(p_value) else f"p {p_value:.3f}"
        at = ", ".join(f"{change_text(own['difference'])} at {own['aim']:.2f}" for own in change["sensitivity_at"])
        say(
            "%s - %s: AUC %s, DeLong's test by group %s; sensitivity %s",
            row["second"], row["first"], change_text(change["auc"]), tested, at,
        )  # fmt: skip
    curve = next(iter(arms.values()))["decision_curve"]
    columns = [min(range(len(curve["thresholds"])), key=lambda i: abs(curve["thresholds"][i] - t)) for t in _SHOWN]
    say("%-*s %s", width, "net benefit per 100 images, acting from", "".join(f"{100 * t:8.0f} %" for t in _SHOWN))
    for title, own in arms.items():
        say("%-*s  %s", width, title, _per_hundred(own["decision_curve"]["net_benefit"], columns))
    say("%-*s  %s", width, "acting on all (on nobody: 0)", _per_hundred(curve["treat_all"], columns))


def _log_never_right(results: ComparisonResults | Evaluation) -> None:
    found = results["never_right"]
    if not found["worst"]:
        return
    worst = found["worst"][0]
    others = len(worst["files"]) - 1
    named = worst["files"][0] + (f" and {others} like it" if others else "")
    say(
        "%d of %d images, in %d groups, were answered wrongly by every arm with every seed; the worst: %s, called %s",
        found["images"], found["of_images"], found["groups"], named, worst["answers"][0],
    )  # fmt: skip


def _per_hundred(values: list[float], columns: list[int]) -> str:
    return "".join(f"{100 * values[i]:9.1f} " for i in columns)


def _published(split: SplitResult) -> Iterator[str]:
    """Name what papers claim under the same protocol, where the images are BUSI's, all of them."""
    if not is_busi(split["fingerprint"]):
        return
    for row in validated_like(split["protocol"]):
        implied = row.by_sensitivity
        own = f", {implied.value:.3f} by its own other figures" if implied and row.contradiction else ""
        yield f"published: {row.name} ({row.source}; {row.validation}): accuracy {row.accuracy:.3f} stated{own}"


def _warnings(results: ComparisonResults) -> Iterator[str]:
    """Say why the figures come out too good, where they do."""
    split = results["split"]
    near_duplicates = sum(split["test_images_with_near_duplicate_in_training"])
    if near_duplicates:
        tested = sum(split["fold_sizes"])
        leaked = f"{near_duplicates} of {tested} test images have a near-duplicate in training"
        yield f"{leaked}: these figures come out too good"
    generated = [arm for arm in results["arms"] if find_arm(arm).reads_generators]
    if split["protocol"] == "thesis" and any(sum(results["arms"][arm]["generated_per_fold"]) for arm in generated):
        yield "the generators were trained on all images, test images included: their arm's figures come out too good"
    for arm, figures in results["arms"].items():
        comparator = COMPARATORS.get(find_arm(arm).comparator)
        if comparator and comparator.masked:
            yield (
                f"{figures['title']}: masks were drawn by people who knew the scans, and an empty one gives a class "
                "away (normal, in BUSI): its figures come out too good"
            )
    if split["chosen_on"] and not all(find_arm(arm).comparator for arm in results["arms"]):
        names = CHOSEN_ON[results["budget"]]
        hold = "holds" if len(names) == 1 else "hold"
        held = f"{listed(names)}, which {hold} {split['chosen_on']} of these {split['images']} images"
        seeds = next(iter(results["arms"].values()))["seeds"]["seeds"]
        told = describe_seeds(results["budget"], split["chosen_on"], seeds)
        yield (
            f"the settings of budget {results['budget']} were chosen on {held}: these figures are optimistic, by an "
            "amount that was not measured" + (f"; {told}" if told else "")
        )


def _detectable(row: ComparisonRow, first: EvaluatedArm) -> str:
    """Say which differences a comparison can show; results read back from a file have None for NaN."""
    smallest = row["minimum_detectable_difference"]
    if smallest is None or math.isnan(smallest):
        return f"which differences it can show cannot be computed: {why_not_detectable(row)}"
    return f"{first['images']} images in {first['groups']} groups can show differences from {smallest:.3f} up"


FIGURE_WORDS = {"accuracy": "accuracy", "macro_auc": "macro-AUC"}


def log_curves(curves: Sequence[LearningCurve]) -> None:
    """Print each figure by the number of real images, what more of them promise, and the worth of each arm's images."""
    for curve in curves:
        _log_curve(curve)


def _log_curve(curve: LearningCurve) -> None:
    what, points = FIGURE_WORDS[curve["figure"]], curve["points"]
    say("")
    width = title_width(points)
    columns = [f"{point['images']:.0f}" for point in points[curve["baseline"]]]
    say("%-*s %s", width, f"{what} by real images in training", "".join(f"{head:>10}" for head in columns))
    for name, own in points.items():
        say("%-*s %s", width, title_of(name), "".join(f"{1 - point['error']['value']:10.3f}" for point in own))
    exponent, last = curve["exponent"], curve["extrapolated"][-1]
    say(
        "the error falls with the number of real images to the power %s; at %.0f of them, by extrapolation, %s %s",
        _bracketed(-exponent["value"], -exponent["high"], -exponent["low"]),
        last["images"],
        what,
        _bracketed(1 - last["error"]["value"], 1 - last["error"]["high"], 1 - last["error"]["low"]),
    )
    for row in curve["worth"]:
        say("%s: %s", title_of(row["arm"]), describe_worth(row, what))


def describe_worth(row: RealWorth, what: str) -> str:
    """Say how many real images an arm's images are worth; results read back from a file have None for no number."""
    images, ratio = row["images"], row["ratio"]
    if not _known(images["value"]):
        said = "cannot be told, as more real images hardly helped"
    else:
        said = f"{images['value']:+.0f} (real images times {ratio['value']:.2f})"
    return f"by {what}, the added images are worth so many real ones: {said}; 95 % interval {_ends(images, ratio)}"


def title_width(arms: Iterable[str]) -> int:
    """Width of the column that holds the arms' titles."""
    return max([38, *(len(title_of(arm)) for arm in arms)])


def _ends(images: IntervalResult, ratio: IntervalResult) -> str:
    low = f"{images['low']:+.0f}" if _known(ratio["low"]) and ratio["low"] > 0 else "no end"
    high = f"{images['high']:+.0f}" if _known(ratio["high"]) else f"no end (beyond {LARGEST_RATIO:.0f} times)"
    return f"{low} to {high}"


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _bracketed(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def count_chosen(choice: ChoiceResult, arm: str) -> list[tuple[dict[str, float], int, float]]:
    """Return each candidate with the number of folds that chose it and its mean accuracy on their inner folds."""
    folds = [fold for seed in choice["folds"][arm] for fold in seed]
    chosen = Counter(name_values(fold["settings"]) for fold in folds)
    return [
        (own, chosen[name_values(own)], sum(fold["accuracy"][place] for fold in folds) / len(folds))
        for place, own in enumerate(choice["candidates"][arm])
    ]


def describe_chosen(choice: ChoiceResult, arm: str) -> str:
    """Return ``learning rate 0.0005 in 7 of 10 folds, learning rate 0.001 in 3``, the most frequent first."""
    counted = sorted(count_chosen(choice, arm), key=lambda row: -row[1])
    all_folds = sum(count for _, count, _ in counted)
    parts = [f"{name_values(own)} in {count}" for own, count, _ in counted if count]
    return ", ".join([f"{parts[0]} of {all_folds} folds", *parts[1:]])


def describe_cost(choice: ChoiceResult) -> str:
    """Say how many inner folds were trained, and how long that took without their generators."""
    return (
        f"{choice['trainings']} trainings on {choice['inner_folds']} inner folds of each training fold, "
        f"{choice['seconds']:.0f} s of training classifiers"
    )


def log_choices(choice: ChoiceResult | None, arms: Sequence[str]) -> None:
    """Print what was chosen in how many folds of each arm, and what it cost; nothing without a choice."""
    if choice is None:
        return
    say("")
    for arm in arms:
        if arm in choice["folds"]:
            say("%s: chosen inside each fold: %s", title_of(arm), describe_chosen(choice, arm))
    if "final" in choice:
        say("final model: chosen on inner folds of all images: %s", name_values(choice["final"]["settings"]))
    say("no test image had a part in the choice; it cost %s", describe_cost(choice))
