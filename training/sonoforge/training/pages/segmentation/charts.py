"""The charts of a segmentation experiment."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from sonoforge.training.pages.charts import INK, MARKERS, SERIES, new_chart, new_row_chart, styled, svg
from sonoforge.training.segmentation.results import GENERATED_ARM, ArmResult
from sonoforge.training.segmentation.set_results import SetResults
from sonoforge.training.statistics.wording import figure, number


@styled
def draw_dice(rows: Sequence[ArmResult], title: str) -> Markup:
    """Draw the Dice of each row with its interval, real pairs as a line."""
    names = [f"{row['arm']} {row['recipe'].partition(':')[0]}".rstrip() for row in rows]
    axes_figure, axes, heights = new_row_chart(names, "Dice on real test patients")
    for row, height in zip(rows, heights, strict=True):
        dice, colour = row["dice"], SERIES[0] if row["recipe"] else SERIES[1]
        axes.plot([dice["low"], dice["high"]], [height, height], "-", color=colour, alpha=0.5)
        axes.plot(dice["value"], height, "o" if row["recipe"] else "s", color=colour)
    for row in rows:
        if row["arm"] == "real":
            axes.axvline(row["dice"]["value"], color=INK, linewidth=1, zorder=0.5)
    said = "; ".join(f"{name} {number(row['dice']['value'])}" for name, row in zip(names, rows, strict=True))
    return svg(axes_figure, f"Dice on {title}: {said}")


@styled
def draw_usefulness(own: SetResults, metric: str) -> Markup:
    """Draw the Dice of a U-Net trained on each generator's pairs alone against a metric of its images."""
    dice = {row["recipe"]: row["dice"] for row in own["rows"] if row["arm"] == GENERATED_ARM}
    points = [
        (generator["recipe"].partition(":")[0], generator["metrics"][metric]["value"], dice[generator["recipe"]])
        for generator in own["generators"]
        if generator["recipe"] in dice and metric in generator["metrics"]
    ]
    if not points:
        return Markup()
    axes_figure, axes = new_chart(330 + 12 * len(points))
    for place, (name, value, found) in enumerate(points):
        colour = SERIES[place % len(SERIES)]
        axes.vlines(value, found["low"], found["high"], colour, alpha=0.4)
        axes.plot(value, found["value"], MARKERS[place % len(MARKERS)], color=colour, label=name)
    axes.set(xlabel=f"{metric.upper()} (low: like real images)", ylabel="Dice, generated pairs alone")
    axes_figure.legend(loc="outside lower left", ncols=2)
    said = "; ".join(
        f"{name}: {metric.upper()} {figure(value)}, Dice {number(found['value'])}" for name, value, found in points
    )
    return svg(axes_figure, f"Dice against {metric.upper()} on {own['name']}: {said}")
