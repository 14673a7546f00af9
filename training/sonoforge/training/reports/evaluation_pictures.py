"""Draw the pictures of an evaluation: charts that are readable without colour, and sheets of images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from sonoforge.runtime.distances.spectrum import FINE, ring_levels
from sonoforge.training import run_folder
from sonoforge.training.copies.nearest_training import Nearest
from sonoforge.training.data.pixels import grid_picture
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.evaluation.measure import TestedCopies
from sonoforge.training.evaluation.projections import Projection, hull_of
from sonoforge.training.evaluation.verdict import full_name, stands
from sonoforge.training.gan.checkpoint import DESCRIPTION
from sonoforge.training.gan.curves import draw_curves
from sonoforge.training.gan.ticks import read_stats
from sonoforge.training.reports.charts import INK, PAPER, SERIES, SOFT, new_chart, new_row_chart, percent_axis, styled
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import share

Figures = dict[str, Figure]


def draw_copies(tested: TestedCopies, real: NDArray[np.uint8], fake: NDArray[np.uint8]) -> Figures:
    """Draw ``scores``, ``distances`` and ``nearest`` of a copy test on training and generated images (N, S, S, C)."""
    source, threshold = tested.result["calibration"], tested.result["threshold"]
    scores, distances = "score of the best match", "distance to the closest training image"
    return {
        "scores": copy_histogram(*tested.scores, source, scores, threshold),
        "distances": copy_histogram(*tested.distances, source, distances),
        "nearest": nearest_sheet(fake[tested.shown], real, tested.nearest, tested.shown_scores),
    }


def draw_sets(pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]], rows: Sequence[Record], run: Path) -> Figures:
    """Draw ``samples``, ``ratios``, ``spectrum`` if it was measured, and ``curves`` of a run of ``gan train``."""
    figures = {"samples": sample_sheet(*pixels)}
    if rows:
        figures["ratios"] = draw_ratios(rows)
    if any(row["name"] == "spectrum" for row in rows):
        figures["spectrum"] = draw_spectrum(*pixels)
    folder = run.resolve().parent.parent if (run / DESCRIPTION).is_file() else run  # of a checkpoint, or of a run
    if ticks := read_stats(folder):
        best = run_folder.read_results(folder).get("best_step") if run_folder.is_finished(folder) else None
        figures["curves"] = draw_curves(ticks, best)
    return figures


REAL, FAKE = SERIES[:2]
_POINTS = 2000  # of a set; more are embedded as a picture
_LINEAR_REACH = 3.0  # ratios beyond this are drawn on an axis that is logarithmic from 1 on
_FURTHEST = 100.0


@styled
def draw_projection(projection: Projection) -> Figure:
    """Draw both sets in the plane: real images as circles, generated ones as triangles, each in their hull."""
    width, height = np.ptp(np.concatenate([projection.real, projection.fake]), axis=0)
    figure, axes = new_chart(90 + float(np.clip(360 * height / (width or 1.0), 170, 330)))
    size = 30 * min(1.0, math.sqrt(300 / max(len(projection.real), len(projection.fake))))
    sets = ((projection.real, "real", "o", REAL, "-"), (projection.fake, "generated (synthetic)", "^", FAKE, "--"))
    for points, name, marker, colour, dashes in sets:
        across, up = points.T
        axes.scatter(
            across,
            up,
            size,
            marker=marker,
            facecolors="none" if marker == "o" else colour,
            edgecolors=colour,
            linewidths=0.9,
            alpha=0.75,
            label=f"{name}, {len(points)}",
            rasterized=len(points) > _POINTS,
        )
        hull = hull_of(points)
        if hull is not None:
            corners = points[[*hull.vertices, hull.vertices[0]]]
            axes.plot(corners[:, 0], corners[:, 1], dashes, color=colour, linewidth=1.3)
            axes.fill(corners[:, 0], corners[:, 1], color=colour, alpha=0.06, linewidth=0)
    parts = enumerate(projection.explained, 1)
    across, up = [f"component {number}: {share(explained)} of real variance" for number, explained in parts]
    axes.set(xlabel=across, ylabel=up)
    axes.set_aspect("equal", adjustable="datalim")
    inside = "not defined" if projection.fakes_inside is None else share(projection.fakes_inside, 0)
    axes.set_title(f"generated inside the real hull: {inside}", color=SOFT)
    figure.legend(loc="outside lower left", ncols=2)
    return figure


@styled
def draw_spectrum(real: NDArray[np.uint8], fake: NDArray[np.uint8]) -> Figure:
    """Draw the mean spectrum of both sets, (N, S, S, C) uint8, over the size of details; the band holds 90 % of scans.

    `runtime.distances.spectrum` measures the distance between the two lines, on the right half for speckle.
    """
    figure, axes = new_chart(270)
    levels = [ring_levels(images) for images in (real, fake)]
    periods = np.arange(1, levels[0].shape[1] + 1)
    low, high = np.percentile(levels[0], (5, 95), axis=0)
    axes.fill_between(periods, low, high, color=REAL, alpha=0.15, linewidth=0, label="90 % of real images")
    axes.plot(periods, levels[0].mean(0), "-", color=REAL, label="real, mean")
    axes.plot(periods, levels[1].mean(0), "--", color=FAKE, label="generated (synthetic), mean")
    axes.axvspan(round(FINE * len(periods)) + 1, periods[-1], color=SOFT, alpha=0.08, linewidth=0)
    axes.set(xlabel="periods a side, coarse to fine (shaded: speckle)", ylabel="level, dB")
    figure.legend(loc="outside lower left", ncols=1)
    return figure


@styled
def draw_ratios(rows: Sequence[Record]) -> Figure:
    """Draw every metric's matched value with its interval beside real-against-real, on one axis: 1 is the limit.

    If less is better, values are divided by the upper end of the floor; if more is better, the lower end of the floor
    is divided by them; if close to real is better, the closer end counts. Values right of 1 are thus worse than real
    images against each other, whose scores are the grey band. The axis is linear up to 1 and, if a value needs it,
    logarithmic beyond; values beyond 100 are drawn there as arrows.
    """
    drawn = [row for row in rows if stands(row) and _limit(row) > 0]
    figure, axes, heights = new_row_chart([full_name(row) for row in drawn], "times the limit of real against real")
    furthest, lowest = 1.0, 0.0
    for row, height in zip(drawn, heights, strict=True):
        value, low, high = (_times(row, end) for end in (row["matched"], row["matched_low"], row["matched_high"]))
        floor = sorted((_times(row, row["floor_low"]), _times(row, row["floor_high"])))
        low, high = sorted((low, high))
        furthest, lowest = max(furthest, value, high), min(lowest, low, value, *floor)
        axes.barh(height, floor[1] - floor[0], 12, left=floor[0], color=SOFT, alpha=0.25)
        axes.plot([low, high], [height, height], color=FAKE, solid_capstyle="butt")
        shape, face = (">" if value >= _FURTHEST else "o"), (FAKE if stands(row) == "within" else PAPER)
        axes.plot(value, height, shape, color=FAKE, markerfacecolor=face, markeredgecolor=FAKE, markeredgewidth=1.4)
    axes.axvline(1, color=INK, linewidth=1, linestyle=":", zorder=0.5)
    if furthest > _LINEAR_REACH:
        axes.set_xscale("symlog", linthresh=1, linscale=1)
        tens = [10.0**power for power in range(math.ceil(math.log10(furthest)) + 1)]
        ticks = [-1.0, 0.0, *(step for ten in tens for step in (ten, 3 * ten))]
        ticks = [tick for tick in ticks if lowest * 1.1 <= tick <= furthest * 1.25]
        axes.set_xticks(ticks, [f"{tick:g}".replace("-", "\u2212") for tick in ticks])
        axes.minorticks_off()
    axes.set_xlim(min(lowest * 1.1, 0.0), furthest * (1.25 if furthest > _LINEAR_REACH else 1.05))
    if not drawn:
        axes.text(0.5, 0.5, "nothing to draw: no metric has a floor", ha="center", transform=axes.transAxes)
    return figure


def _limit_is_low(row: Record) -> bool:
    """Whether the floor's lower end is the limit: more is better, or the value should be near but is below."""
    return bool(row["better"] == "high" or (row["better"] == "near" and row["matched"] < row["floor_low"]))


def _limit(row: Record) -> float:
    return float(row["floor_low"] if _limit_is_low(row) else row["floor_high"])


def _times(row: Record, value: float) -> float:
    """Return how many times the floor's limit a value is, at most `_FURTHEST`."""
    if not _limit_is_low(row):
        return min(value / _limit(row), _FURTHEST)
    return min(_limit(row) / value, _FURTHEST) if value > 0 else _FURTHEST


@styled
def copy_histogram(
    fake_to_train: NDArray[np.floating],
    real_to_train: NDArray[np.floating],
    reference: str,
    label: str,
    threshold: float | None = None,
) -> Figure:
    """Draw how close generated images, and the real ones that set the threshold, are to training images."""
    figure, axes = new_chart(330)
    both = np.concatenate([fake_to_train, real_to_train, [] if threshold is None else [threshold]])
    edges = np.histogram_bin_edges(both, bins=30, range=(min(0.0, float(both.min())), float(both.max())))
    sets = ((real_to_train, reference, REAL, "", 0.35), (fake_to_train, "generated", FAKE, "////", 0.0))
    for values, name, colour, hatch, opacity in sets:
        axes.hist(
            values,
            edges.tolist(),
            weights=np.full(len(values), 1 / max(len(values), 1)),
            histtype="stepfilled",
            facecolor=to_rgba(colour, opacity),
            edgecolor=colour,
            hatch=hatch,
            linewidth=1.4,
            label=f"{name}, {len(values)}",
        )
    if threshold is not None:
        axes.axvline(threshold, color=INK, linewidth=1.4, linestyle="--", label=f"threshold {threshold:.3g}")
    axes.set(xlabel=label, ylabel="share of the images")
    axes.yaxis.set_major_formatter(percent_axis())
    figure.legend(loc="outside lower left")
    return figure


_FLAGGED = "#c00000"
_GAP = 2  # pixels between images
_styled = mpl.rc_context({"font.size": 9, "axes.titlesize": 9.5, "text.parse_math": False})


@_styled
def sample_sheet(real: NDArray[np.uint8], fake: NDArray[np.uint8], columns: int = 8, rows: int = 2) -> Figure:
    """Draw rows of real images above rows of generated ones, evenly spaced in each set, none picked by hand."""
    chosen = [images[evenly_spaced(len(images), rows * columns)] for images in (real, fake)]
    sheets = [_sheet(images, columns) for images in chosen]
    heights = [len(sheet) / sheet.shape[1] for sheet in sheets]
    figure = Figure(figsize=(10, 10 * sum(heights) + 0.75), layout="constrained")
    titles = (
        f"Real: {len(chosen[0])} of {len(real)}, evenly spaced",
        f"Generated (synthetic): {len(chosen[1])} of {len(fake)}, evenly spaced",
    )
    parts = figure.subplots(2, 1, gridspec_kw={"height_ratios": heights})
    for axes, sheet, title in zip(parts, sheets, titles, strict=True):
        _show(axes, sheet)
        axes.set_title(title, loc="left")
    return figure


@_styled
def nearest_sheet(
    fakes: NDArray[np.uint8], training: NDArray[np.uint8], nearest: Nearest, score: NDArray[np.float64]
) -> Figure:
    """Draw generated images (N, S, S, C), in their order, each beside its closest training images.

    Args:
        fakes: The generated images, N >= 1.
        training: (M, S, S, C) all training images.
        nearest: Fields (N, k); for a copy, the first is its original.
        score: (N,) score of the match with the original; 0 for an image that is not a copy.
    """
    width = nearest.distance.shape[1] + 1
    size = (1.45 * max(width, 4), 1.72 * len(fakes) + 0.7)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.03, hspace=0.03))
    cells = figure.subplots(len(fakes), width, squeeze=False)
    for fake, line in enumerate(cells):
        copied = bool(score[fake] > 0)
        _show(line[0], fakes[fake], framed=copied)
        line[0].set_xlabel("generated: a copy" if copied else "generated", fontsize=8, labelpad=2)
        for rank, axes in enumerate(line[1:]):
            near, mirrored = training[nearest.training_index[fake, rank]], nearest.mirrored[fake, rank]
            _show(axes, near[:, ::-1] if mirrored else near, framed=copied and rank == 0)
            figure_of_it = f"{round(float(nearest.distance[fake, rank]), 6):.3g}"
            if copied and rank == 0:
                figure_of_it = f"score {score[fake]:.3g}"
            axes.set_xlabel(f"{figure_of_it}{', mirrored' if mirrored else ''}", fontsize=8, labelpad=2)
    for axes, title in zip(
        cells[0], ["synthetic", "closest training", *map("{}.".format, range(2, width))], strict=True
    ):
        axes.set_title(title, fontsize=8.5)
    figure.supxlabel(
        "Copies first, then the generated images that are closest to a training image, with the distances.\n"
        "Framed: found to be a copy of the training image beside it, with the score of the match.",
        fontsize=8,
    )
    return figure


def _sheet(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Arrange (N, S, S, C) in rows, white between them: (H, W, 3) uint8."""
    side, cells = images.shape[1], math.ceil(len(images) / columns) * columns
    framed = np.full((cells, side + _GAP, side + _GAP, 3), 255, np.uint8)
    framed[: len(images), :side, :side] = images
    return grid_picture(framed, columns)[:-_GAP, :-_GAP]


def _show(axes: Axes, pixels: NDArray[Any], framed: bool = False) -> None:
    """Show one picture (H, W, 1 or 3) without ticks, in a thick frame if ``framed``."""
    axes.imshow(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=framed, color=_FLAGGED, linewidth=3)
