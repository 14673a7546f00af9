"""The part of a run's report on one class against the rest."""

from __future__ import annotations

from markupsafe import Markup

from sonoforge.training.pages.blocks import (
    Block,
    Figure,
    Grid,
    Heading,
    Table,
    Text,
    area,
    bold,
    change,
    interval,
    soft,
)
from sonoforge.training.pages.run import charts
from sonoforge.training.pages.run.whole_run import WholeRun
from sonoforge.training.statistics.one_against_rest import classes_of_interest
from sonoforge.training.statistics.results import DecisionCurveResult
from sonoforge.training.statistics.wording import bracket, is_number, p_value, points, share

_CHARTED = 4  # classes of a data set without a class `malignant`; the others are in `results.json`
_THRESHOLDS = (0.02, 0.05, 0.10, 0.20, 0.30, 0.50)  # of the table of net benefit


def class_blocks(run: WholeRun) -> list[Block]:
    """Show each class of interest against the rest."""
    said = (
        "The class is called where its probability is above a threshold. The threshold was chosen, for each fold, on "
        "the images of the other folds, so that the specificity aimed at is held there; none was chosen on the "
        "images that it is measured on. The specificity reached stands beside it."
    )
    if run.facts.near_duplicates:
        said += (
            " Near-duplicates of test images lie in other folds here, so the thresholds have seen something like them."
        )
    names = classes_of_interest(run.results["classes"])[:_CHARTED]
    counts = dict(zip(run.results["classes"], run.results["class_counts"], strict=True))
    frequent = ", ".join(f"{share(counts[name] / sum(counts.values()))} of the images are {name}" for name in names)
    last = (
        f"Net benefit depends on how frequent the class is: here {frequent}; where it is rarer, the benefit is "
        "smaller. Probabilities are after temperature scaling, fitted on the other folds."
    )
    shown = [block for name in names for block in _of_class(run, name)]
    return [Heading("One class against the rest"), Text(said), *shown, Text(last, "note-text")]


def _of_class(run: WholeRun, name: str) -> list[Block]:
    arms = {own["title"]: own["one_against_rest"][name] for own in run.arms.values()}
    aims = [point["aim"] for point in next(iter(arms.values()))["sensitivity_at"]]
    sensitivities = [f"sensitivity at {share(aim, 0)} specificity" for aim in aims]
    rows = []
    for title, own in arms.items():
        reached = [interval(point[end]) for point in own["sensitivity_at"] for end in ("sensitivity", "specificity")]
        rows.append([title, area(own["auc"]), *reached])
    caption = (
        f"{name} against the rest: area under the ROC curve, and sensitivity at a fixed specificity. Intervals by "
        "group (bootstrap); those of sensitivity include the choice of the threshold."
    )
    head = ["arm", "AUC", *(column for aimed in sensitivities for column in (aimed, "specificity reached"))]
    curves = Figure(
        f"Decision curves of {name}",
        ": the good done by acting (a biopsy, a recall) on every image whose probability reaches a threshold, less the "
        "needless acts, weighted by the threshold's odds. A useful classifier lies above both other lines. Bands: 95 % "
        "intervals by group.",
        charts.decision_curves(run.arms, name),
    )
    blocks: list[Block] = [Table(f"{name} against the rest", head, rows, caption)]
    forest: list[Block] = []
    if run.comparisons:
        blocks.append(_differences(run, name, sensitivities))
        first = [
            charts.Difference(
                charts.name_difference(row, run.titles),
                row["one_against_rest"][name]["sensitivity_at"][0]["difference"],
            )
            for row in run.comparisons
        ]
        drawn = charts.difference_forest(first, f"the sensitivity to {name}")
        said = f" at {share(aims[0], 0)} specificity, with 95 % intervals by group."
        forest.append(Figure(f"Differences in the sensitivity to {name}", said, drawn))
    benefit = _net_benefit(name, {title: own["decision_curve"] for title, own in arms.items()})
    return [*blocks, Grid([*forest, curves]), benefit]


def _differences(run: WholeRun, name: str, sensitivities: list[str]) -> Table:
    rows = []
    for row in run.comparisons:
        own = row["one_against_rest"][name]
        p = own["p_value"]
        rows.append(
            (
                charts.name_difference(row, run.titles),
                area(own["auc"], "+"),
                p_value(p).removeprefix("= ") if is_number(p) else "cannot be computed",
                *(change(point["difference"]) for point in own["sensitivity_at"]),
            )
        )
    caption = (
        f"Differences for {name} against the rest: sensitivity in percentage points; p of the AUC by DeLong's test, "
        "summed over groups (Obuchowski 1997)"
    )
    head = ("comparison", "AUC", "p by group", *sensitivities)
    return Table(f"Differences for {name}", head, rows, caption, kind="long")


def _net_benefit(name: str, curves: dict[str, DecisionCurveResult]) -> Table:
    first = next(iter(curves.values()))
    columns = [i for i, threshold in enumerate(first["thresholds"]) if threshold in _THRESHOLDS]
    rows = [
        (
            share(first["thresholds"][i], 0),
            points(first["treat_all"][i], sign=""),
            *(_benefit(curve, i) for curve in curves.values()),
        )
        for i in columns
    ]
    caption = (
        f"Net benefit for {name} in cases found for 100 images, needless acts deducted (Vickers and Elkin 2006); "
        "acting on nobody: 0. In bold: above the better of all and nobody, by the 95 % interval of the difference."
    )
    return Table(f"Net benefit for {name}", ("acting from", "on all", *curves), rows, caption)


def _benefit(curve: DecisionCurveResult, i: int) -> Markup:
    value, low, high = (points(curve[end][i], sign="") for end in ("net_benefit", "low", "high"))
    return soft(bold(value) if curve["gain_low"][i] > 0 else value, bracket(low, high))
