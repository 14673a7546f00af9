"""Make the tables of a comparison for the run's report and the terminal, and describe some figures."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from markupsafe import Markup

from sonoforge.training.crossval.choices import name_values
from sonoforge.training.reports.blocks import Table, bold, interval, lines, soft
from sonoforge.training.reports.words import Words
from sonoforge.training.statistics.calibration import ENOUGH
from sonoforge.training.statistics.results import ComparisonRow, Record
from sonoforge.training.statistics.verdict import judge
from sonoforge.training.statistics.wording import bracket, is_number, p_value, points, share

WORDS = Words("run")
Titles = Mapping[str, str]
"""Titles of the arms, by name."""
_READINGS = {"better": "higher", "worse": "lower", "undecided": "not shown"}
_THRESHOLDS = (0.02, 0.05, 0.10, 0.20, 0.30, 0.50)  # of the table of net benefit


def name_difference(row: ComparisonRow, titles: Titles) -> str:
    """Name a comparison: what is subtracted from what."""
    return f"{titles[row['second']]} \u2212 {titles[row['first']]}"


def arm_table(titles: Titles, arms: Mapping[str, Record]) -> Table:
    """Show the figures of each arm over all classes."""
    return WORDS.table("arms", [(titles[arm], own) for arm, own in arms.items()], several=len(arms) > 1)


def comparison_table(titles: Titles, comparisons: Sequence[ComparisonRow]) -> Table:
    """Show the paired differences between arms."""
    return WORDS.table(
        "comparisons", comparisons, titles=titles, difference=name_difference, readings=_READINGS, judge=judge
    )


def spread_table(titles: Titles, arms: Mapping[str, Record], chosen: Collection[int] = ()) -> Table:
    """Show how accuracy varies over folds and seeds, and against training images where that is known.

    Args:
        titles: Titles of the arms.
        arms: Their figures.
        chosen: Seeds that settings were chosen with.
    """
    trained = all("train_accuracy" in own for own in arms.values())
    rows: list[dict[str, object]] = []
    for arm, own in arms.items():
        seeds = zip(own["seeds"]["seeds"], own["seeds"]["accuracy"], strict=True)
        each = [share(value) + (f" (seed {seed}, chosen with)" if seed in chosen else "") for seed, value in seeds]
        rows.append({**own, "title": titles[arm], "by_seed": ", ".join(each)})
        if trained:
            values = [value for each in own["train_accuracy_by_seed"] for value in each]
            ends = f"{share(min(values))} to {share(max(values))}" if len(values) > 1 else ""
            rows[-1]["trained"] = soft(share(own["train_accuracy"]), ends)
    count = max(len(own["seeds"]["seeds"]) for own in arms.values())
    return WORDS.table("spread", rows, count=count, trained=trained, with_deviation=_with_deviation)


def _with_deviation(mean: float, deviation: float | None) -> str:
    return soft(share(mean), f"± {points(deviation, sign='')}") if is_number(deviation) else share(mean)


def source_table(title: str, sources: Sequence[Record]) -> Table:
    """Show an arm's figures on each collection and device."""

    def reached(found: Sequence[Mapping[str, object]]) -> Markup | str:
        both = [interval(own["sensitivity"]) + " at " + interval(own["specificity"]) for own in found]  # type: ignore[arg-type]
        return lines(both, ";") or "–"

    return WORDS.table("sources", sources, title=title, named=list(sources[0]["sensitivity_at"]), reached=reached)


def flag_table(title: str, flags: Sequence[Record]) -> Table:
    """Show how often an arm is wrong on images with each flag."""

    def flagged(row: Record) -> Markup:
        shares = [interval(found) + f" of {name}" for name, found in row.get("by_collection", {}).items()]
        return lines([str(row["images"]), *shares], "")

    return WORDS.table("flags", flags, title=title, enough=ENOUGH, flagged=flagged)


def class_tables(
    titles: Titles, arms: Mapping[str, Record], comparisons: Sequence[ComparisonRow], name: str
) -> list[Table]:
    """Show one class against the rest: each arm's figures, and the differences if any."""
    each = {titles[arm]: own["one_against_rest"][name] for arm, own in arms.items()}
    aims = [point["aim"] for point in next(iter(each.values()))["sensitivity_at"]]
    ends = []
    for place, aim in enumerate(aims):
        heads = {"sensitivity": f"sensitivity at {share(aim, 0)} specificity", "specificity": "specificity reached"}
        ends += [{"place": place, "end": end, "head": head} for end, head in heads.items()]

    def p_of(value: float | None) -> str:
        return p_value(value).removeprefix("= ") if is_number(value) else "cannot be computed"

    facts = {"name": name, "titles": titles, "aims": aims, "difference": name_difference, "p_of": p_of}
    differences = [WORDS.table("class_differences", comparisons, **facts)] if comparisons else []
    return [WORDS.table("one_against_rest", each.items(), name=name, ends=ends), *differences]


def benefit_table(titles: Titles, arms: Mapping[str, Record], name: str) -> Table:
    """Show the net benefit of acting on the probability of one class."""
    curves = {titles[arm]: own["one_against_rest"][name]["decision_curve"] for arm, own in arms.items()}
    first = next(iter(curves.values()))
    rows = [
        {"place": place, "threshold": threshold, "everybody": everybody}
        for place, (threshold, everybody) in enumerate(zip(first["thresholds"], first["treat_all"], strict=True))
        if threshold in _THRESHOLDS
    ]
    return WORDS.table("net_benefit", rows, name=name, curves=curves, gained=_gained)


def _gained(curve: Record, i: int) -> Markup:
    value, low, high = (points(curve[end][i], sign="") for end in ("net_benefit", "low", "high"))
    return soft(bold(value) if curve["gain_low"][i] > 0 else value, bracket(low, high))


def chosen_table(titles: Titles, choice: Record) -> Table:
    """Show how many of each arm's folds chose each candidate, and its mean accuracy on their inner folds."""
    rows = []
    for arm, seeds in choice["folds"].items():
        folds = [fold for seed in seeds for fold in seed]
        chosen = Counter(name_values(fold["settings"]) for fold in folds)
        for i, own in enumerate(choice["candidates"][arm]):
            value, accuracy = name_values(own), sum(fold["accuracy"][i] for fold in folds) / len(folds)
            rows.append({"arm": titles[arm], "value": value, "chosen": chosen[value], "accuracy": accuracy})
    return WORDS.table("chosen", rows)


def describe_cost(choice: Record) -> str:
    """Say how many inner folds were trained, and how long that took without their generators."""
    return (
        f"{choice['trainings']} trainings on {choice['inner_folds']} inner folds of each training fold, "
        f"{choice['seconds']:.0f} s of training classifiers"
    )
