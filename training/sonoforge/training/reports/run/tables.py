"""The tables of a comparison that a run's report and the terminal both show, and what is said of some figures."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from markupsafe import Markup

from sonoforge.training.crossval.choices import name_values
from sonoforge.training.reports.blocks import (
    Group,
    Table,
    area,
    areas,
    bold,
    change,
    interval,
    lines,
    ratio,
    soft,
)
from sonoforge.training.reports.texts import read_texts
from sonoforge.training.statistics.flagged import ENOUGH
from sonoforge.training.statistics.results import ComparisonRow, Record
from sonoforge.training.statistics.verdict import judge
from sonoforge.training.statistics.wording import bracket, is_number, p_value, points, share

TEXTS = read_texts("run")
Titles = Mapping[str, str]
"""Of the arms, by name."""
_READINGS = {"better": "higher", "worse": "lower", "undecided": "not shown"}
_THRESHOLDS = (0.02, 0.05, 0.10, 0.20, 0.30, 0.50)  # of the table of net benefit


def name_difference(row: ComparisonRow, titles: Titles) -> str:
    """Name a comparison: what is subtracted from what."""
    return f"{titles[row['second']]} \u2212 {titles[row['first']]}"


def arm_table(titles: Titles, arms: Mapping[str, Record]) -> Table:
    """Show the figures of each arm over all classes."""
    rows = []
    for arm, own in arms.items():
        shares = (interval(own["accuracy"]), interval(own["balanced_accuracy"]))
        rows.append((titles[arm], *shares, area(own["macro_f1"]), area(own["macro_auc"])))
    caption = TEXTS["arms"].format(which="all arms" if len(rows) > 1 else "the arm")
    head = ("arm", "accuracy", "balanced accuracy", "macro-F1", "macro-AUC")
    return Table("Results of all arms", head, rows, caption)


def comparison_table(titles: Titles, comparisons: Sequence[ComparisonRow]) -> Table:
    """Show the paired differences between arms."""
    rows = []
    for row in comparisons:
        test, smallest = row["sign_flip_test"], row["minimum_detectable_difference"]
        rows.append(
            (
                name_difference(row, titles),
                change(row["accuracy_difference"]),
                area(row["macro_auc_difference"], "+"),
                test["first_only"],
                test["second_only"],
                p_value(test["p_value"]).removeprefix("= "),
                points(smallest, sign="") if is_number(smallest) else "cannot be computed",
                _READINGS[judge(row)],
            )
        )
    head = (
        *("comparison", "accuracy", "macro-AUC", "only first correct", "only second correct", "p by group"),
        *("minimum detectable", "reading"),
    )
    caption = "Differences, in percentage points for accuracy"
    return Table("Paired comparisons", head, rows, caption, words=(7,), kind="long")


def spread_table(
    titles: Titles,
    arms: Mapping[str, Record],
    trained: Mapping[str, Record] | None = None,
    chosen: Collection[int] = (),
) -> Table:
    """Show how accuracy varies over folds and seeds.

    Args:
        titles: Of the arms.
        arms: Their figures.
        trained: The same arms where their accuracy on training images is known.
        chosen: Seeds that settings were chosen with.
    """
    count = max(len(own["seeds"]["seeds"]) for own in arms.values())
    head = ["arm", "mean of folds ± SD", *["accuracy on training images"] * bool(trained), "accuracy on test images"]
    rows = []
    for arm, own in arms.items():
        folds, seeds = own["fold_accuracy"], own["seeds"]
        row: list[str] = [titles[arm], _with_deviation(folds["mean"], folds["sd"])]
        if trained:
            values = [value for each in trained[arm]["train_accuracy_by_seed"] for value in each]
            ends = f"{share(min(values))} to {share(max(values))}" if len(values) > 1 else ""
            mean = share(trained[arm]["train_accuracy"])
            row.append(soft(mean, ends) if ends else mean)
        row.append(share(own["accuracy"]["value"]))
        if count > 1:
            each = [
                share(value) + (f" (seed {seed}, chosen with)" if seed in chosen else "")
                for seed, value in zip(seeds["seeds"], seeds["accuracy"], strict=True)
            ]
            mean_of_seeds = sum(seeds["accuracy"]) / len(seeds["accuracy"])
            row += [_with_deviation(mean_of_seeds, seeds["accuracy_sd"]), ", ".join(each)]
        rows.append(row)
    if count > 1:
        head += [f"mean of {count} seeds ± SD", "accuracy by seed"]
    gap = ", and the gap to the training images (over-fitting)" if trained else ""
    caption = f"Spread over folds{' and seeds' if count > 1 else ''}{gap}"
    return Table("Accuracy over folds and seeds", head, rows, caption, wide=(5,))


def _with_deviation(mean: float, deviation: float | None) -> str:
    return soft(share(mean), f"± {points(deviation, sign='')}") if is_number(deviation) else share(mean)


def source_table(title: str, sources: Sequence[Record]) -> Table:
    """Show an arm's figures on each collection and device."""
    named = list(sources[0]["sensitivity_at"])
    rows = []
    for own in sources:
        found = [
            [
                interval(point["sensitivity"]) + " at " + interval(point["specificity"])
                for point in own["sensitivity_at"].get(name, ())
            ]
            for name in named
        ]
        rows.append(
            (
                f"{own['kind']} {own['name']}",
                lines([f"{count}\u00a0{name}" for name, count in own["images"].items() if count]),
                own["groups"],
                interval(own["accuracy"]),
                areas(own["auc"]),
                *(lines(points, ";") or "–" for points in found),
                area(own["ece"]),
                interval(own["coverage"]),
            )
        )
    head = (
        *("images of", "how many", "groups", "accuracy", "AUC", *(f"sensitivity to {name}" for name in named)),
        *("ECE, calibrated", "coverage of the sets"),
    )
    words, caption = (1, 4, *range(5, 5 + len(named))), TEXTS["by_source"].format(title=title)
    return Table(f"{title}, by collection and device", head, rows, caption, words=words)


def flag_table(title: str, flags: Sequence[Record]) -> Table:
    """Show how often an arm's answers to images with each flag are wrong."""
    rows = []
    for row in flags:
        shares = [interval(found) + f" of {name}" for name, found in row.get("by_collection", {}).items()]
        counts = lines([str(row["images"]), *shares], "")
        rows.append(
            (
                row["flag"],
                counts,
                *(interval(row[kind]) for kind in ("errors", "errors_of_others")),
                ratio(row["ratio"]),
            )
        )
    head = ("flag", "images", "wrong", "wrong of the others", "ratio")
    return Table(f"Flags and errors of {title}", head, rows, TEXTS["flags"].format(title=title, enough=ENOUGH))


def class_tables(
    titles: Titles, arms: Mapping[str, Record], comparisons: Sequence[ComparisonRow], name: str
) -> Iterator[Table]:
    """Yield one class against the rest: each arm's figures, and the differences where there are any."""
    each = {titles[arm]: own["one_against_rest"][name] for arm, own in arms.items()}
    aims = [point["aim"] for point in next(iter(each.values()))["sensitivity_at"]]
    sensitivities = [f"sensitivity at {share(aim, 0)} specificity" for aim in aims]
    rows = []
    for title, own in each.items():
        reached = [interval(point[end]) for point in own["sensitivity_at"] for end in ("sensitivity", "specificity")]
        rows.append([title, area(own["auc"]), *reached])
    head = ["arm", "AUC", *(column for aimed in sensitivities for column in (aimed, "specificity reached"))]
    yield Table(f"{name} against the rest", head, rows, TEXTS["one_against_rest"].format(name=name))
    differences = []
    for row in comparisons:
        found = row["one_against_rest"][name]
        p = found["p_value"]
        tested = p_value(p).removeprefix("= ") if is_number(p) else "cannot be computed"
        changes = (change(point["difference"]) for point in found["sensitivity_at"])
        differences.append((name_difference(row, titles), area(found["auc"], "+"), tested, *changes))
    if differences:
        caption = TEXTS["class_differences"].format(name=name)
        head = ["comparison", "AUC", "p by group", *sensitivities]
        yield Table(f"Differences for {name}", head, differences, caption, kind="long")


def benefit_table(titles: Titles, arms: Mapping[str, Record], name: str) -> Table:
    """Show the net benefit of acting on the probability of one class."""
    curves = {titles[arm]: own["one_against_rest"][name]["decision_curve"] for arm, own in arms.items()}
    first = next(iter(curves.values()))
    rows = [
        (share(threshold, 0), points(everybody, sign=""), *(_benefit(curve, i) for curve in curves.values()))
        for i, (threshold, everybody) in enumerate(zip(first["thresholds"], first["treat_all"], strict=True))
        if threshold in _THRESHOLDS
    ]
    caption = TEXTS["net_benefit"].format(name=name)
    return Table(f"Net benefit for {name}", ("acting from", "on all", *curves), rows, caption)


def _benefit(curve: Record, i: int) -> Markup:
    value, low, high = (points(curve[end][i], sign="") for end in ("net_benefit", "low", "high"))
    return soft(bold(value) if curve["gain_low"][i] > 0 else value, bracket(low, high))


def chosen_table(titles: Titles, choice: Record) -> Table:
    """Show how many folds of each arm chose each candidate, and its mean accuracy on their inner folds."""
    groups = []
    for arm, seeds in choice["folds"].items():
        folds = [fold for seed in seeds for fold in seed]
        chosen = Counter(name_values(fold["settings"]) for fold in folds)
        rows = [
            (name_values(own), chosen[name_values(own)], share(sum(fold["accuracy"][i] for fold in folds) / len(folds)))
            for i, own in enumerate(choice["candidates"][arm])
        ]
        groups.append(Group(titles[arm], rows))
    head = ("arm", "value", "chosen in folds", "accuracy on inner folds")
    return Table("Settings chosen inside each fold", head, groups, TEXTS["chosen"], words=(1,))


def describe_cost(choice: Record) -> str:
    """Say how many inner folds were trained, and how long that took without their generators."""
    return (
        f"{choice['trainings']} trainings on {choice['inner_folds']} inner folds of each training fold, "
        f"{choice['seconds']:.0f} s of training classifiers"
    )
