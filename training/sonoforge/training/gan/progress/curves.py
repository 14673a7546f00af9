"""``metrics.png``: how distances, diversity and losses went, and which checkpoint is the best."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sonoforge.runtime.atomic import write_bytes
from sonoforge.training.gan.checkpoint import COLLAPSE_FRACTION

PICTURE = "metrics.png"

Row = Mapping[str, Any]


def draw_curves(rows: Sequence[Row], best_step: int | None) -> Figure:
    """Draw what a training measured over thousands of real images shown, one panel a figure.

    KID with a band of one standard error and FID, each where it was measured; then diversity with the floor
    below which no checkpoint is called the best, and the two losses.
    """
    panels = [*[name for name in ("kid", "fid") if any(name in row for row in rows)], "diversity", "losses"]
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(8.5, 1.75 * len(panels) + 0.5), layout="constrained")
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for name, axis in zip(panels, axes, strict=True):
            if name == "diversity":
                _draw_diversity(axis, rows)
            elif name == "losses":
                for network in ("discriminator", "generator"):
                    axis.plot(_column(rows, "kimg"), _column(rows, f"{network}_loss"), label=network)
                axis.set_ylabel("loss")
            else:
                _draw_distance(axis, rows, name)
            for row in rows:
                if row["step"] == best_step:
                    axis.axvline(row["kimg"], color="tab:green", linestyle=":", label=f"best: step {best_step}")
            if axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
        axes[-1].set_xlabel("thousands of real images shown")
        return figure


def _draw_distance(axis: Axes, rows: Sequence[Row], name: str) -> None:
    measured = [row for row in rows if name in row]
    kimg, values = _column(measured, "kimg"), _column(measured, name)
    axis.plot(kimg, values, marker=".", color="tab:blue")
    if name == "kid":
        errors = _column(measured, "kid_standard_error")
        axis.fill_between(kimg, values - errors, values + errors, alpha=0.25, linewidth=0, label="± 1 standard error")
    vetoed = _column(measured, "diversity") < COLLAPSE_FRACTION
    if vetoed.any():
        axis.plot(kimg[vetoed], values[vetoed], "x", color="tab:red", label="diversity below its floor")
    last = measured[-1]
    axis.set_ylabel(name.upper())
    title = f"{last['metric_generated']} generated against {last['metric_real']} {last['metric_reference']} images"
    axis.set_title(f"{title}; {last['metric_features']}", loc="left", fontsize=7)


def _draw_diversity(axis: Axes, rows: Sequence[Row]) -> None:
    axis.plot(_column(rows, "kimg"), _column(rows, "diversity"), marker=".", color="tab:blue")
    axis.axhline(1.0, color="grey", linewidth=0.8, label="real images")
    axis.axhline(
        COLLAPSE_FRACTION, color="tab:red", linewidth=0.8, linestyle="--", label="floor: below it none is best"
    )
    axis.set_ylabel("diversity")
    axis.set_ylim(bottom=0)


def _column(rows: Sequence[Row], name: str) -> Any:
    return np.array([row[name] for row in rows], np.float64)


def write_curves(path: Path, rows: Sequence[Row], best_step: int | None) -> None:
    """Write `draw_curves` as a PNG."""
    stream = io.BytesIO()
    draw_curves(rows, best_step).savefig(stream, format="png", dpi=150)
    write_bytes(path, stream.getvalue())
