"""The pictures of an evaluation, drawn with matplotlib and readable without colour.

Each function returns a `Figure`; `png_bytes` turns it into a file that says in its metadata, and on its face where
images are shown, that the images are synthetic.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.evaluation.projections import HullOverlap, Projection, hull_vertices
from sonoforge.training.pages.evaluation.words import stands

ABOUT = "synthetic images shown; research use, not a medical device"
DPI = 150
# Okabe, Ito, "Color Universal Design", 2008: told apart by all common kinds of colour vision.
REAL, FAKE, FLAGGED = "#0072b2", "#c25100", "#c00000"
_BAND = "#d5d9de"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "text.parse_math": False,  # names of classes and files may hold a dollar sign
}
_GAP = 2  # pixels between the images of a sheet
_NAMES = {"pca": "component", "tsne": "t-SNE", "umap": "UMAP"}
_LINEAR_REACH = 3.0  # ratios beyond this are drawn on an axis that is logarithmic from 1 on
_FURTHEST = 100.0


def png_bytes(figure: Figure, dpi: int = DPI) -> bytes:
    """Encode a figure as PNG, white behind, with `ABOUT` as its description; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Description": ABOUT, "Software": "sonoforge"})
    return stream.getvalue()


def draw_projection(projection: Projection, title: str, overlap: HullOverlap | None = None) -> Figure:
    """Draw both sets in the plane: real images as circles, generated ones as triangles.

    Args:
        projection: The points.
        title: Above the picture.
        overlap: Where given, both convex hulls are drawn and their overlap is named.
    """
    with mpl.rc_context(_STYLE):
        width, height = np.ptp(np.concatenate([projection.real, projection.fake]), axis=0)
        figure = Figure(
            figsize=(6, 1.2 + float(np.clip(5.2 * height / (width or 1.0), 2.4, 4.6))), layout="constrained"
        )
        axes = figure.add_subplot()
        size = 26 * min(1.0, math.sqrt(300 / max(len(projection.real), len(projection.fake))))
        sets = (
            (projection.real, "real", "o", REAL, "-"),
            (projection.fake, "generated (synthetic)", "^", FAKE, "--"),
        )
        for points, name, marker, colour, dashes in sets:
            face = "none" if marker == "o" else colour
            axes.scatter(
                points[:, 0],
                points[:, 1],
                size,
                marker=marker,
                facecolors=face,
                edgecolors=colour,
                linewidths=0.9,
                alpha=0.75,
                label=f"{name}, {len(points)}",
            )
            hull = hull_vertices(points) if overlap is not None else None
            if hull is not None:
                closed = np.vstack([hull, hull[:1]])
                axes.plot(closed[:, 0], closed[:, 1], dashes, color=colour, linewidth=1.3)
                axes.fill(hull[:, 0], hull[:, 1], color=colour, alpha=0.06, linewidth=0)
        name = _NAMES[projection.method]
        shares = ["", ""]
        if projection.explained is not None:
            shares = [f": {100 * share:.1f} % of real variance" for share in projection.explained]
        axes.set_xlabel(f"{name} 1{shares[0]}")
        axes.set_ylabel(f"{name} 2{shares[1]}")
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(title if overlap is None else f"{title}\n{_overlap_words(overlap)}", loc="left")
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def _overlap_words(overlap: HullOverlap) -> str:
    inside = "not defined" if overlap.fakes_inside is None else f"{100 * overlap.fakes_inside:.0f} %"
    iou = "not defined" if overlap.iou is None else f"{overlap.iou:.2f}"
    return f"hulls: intersection over union {iou}; generated inside the real hull: {inside}"


def sample_sheet(real: NDArray[np.uint8], fake: NDArray[np.uint8], columns: int = 8, rows: int = 2) -> Figure:
    """Draw rows of real images above rows of generated ones: evenly spaced in each set, nothing picked by hand.

    Args:
        real: (M, S, S, C) uint8, C = 1 or 3.
        fake: (N, S, S, C) uint8.
        columns: Images in a row.
        rows: Rows of each set.
    """
    with mpl.rc_context(_STYLE):
        chosen = [images[evenly_spaced(len(images), rows * columns)] for images in (real, fake)]
        sheets = [_sheet(images, columns) for images in chosen]
        heights = [len(sheet) / sheet.shape[1] for sheet in sheets]
        figure = Figure(figsize=(10, 10 * sum(heights) + 0.75), layout="constrained")
        parts = figure.subplots(2, 1, gridspec_kw={"height_ratios": heights})
        titles = (
            f"Real: {len(chosen[0])} of {len(real)}, evenly spaced",
            f"Generated (synthetic): {len(chosen[1])} of {len(fake)}, evenly spaced",
        )
        for axes, sheet, title in zip(parts, sheets, titles, strict=True):
            _show(axes, sheet)
            axes.set_title(title, loc="left")
    return figure


def nearest_sheet(
    fakes: NDArray[np.uint8],
    training: NDArray[np.uint8],
    indices: NDArray[np.integer[Any]],
    distances: NDArray[np.floating[Any]],
    mirrored: NDArray[np.bool_],
    flagged: NDArray[np.bool_],
    rows: int = 8,
    columns: int = 4,
) -> Figure:
    """Draw generated images, each beside its closest training images; the likeliest copies come first.

    A training image that is closest as its mirror image is shown mirrored, and marked so.  Where one training image is
    given for each, two pairs share a line.

    Args:
        fakes: (N, S, S, C) uint8.
        training: (M, S, S, C) uint8.
        indices: (N, k) rows of ``training``, closest first.
        distances: (N, k) distance to each.
        mirrored: (N, k) whether the training image was mirrored left to right to be that close.
        flagged: (N,) whether the copy test calls the generated image closer than it should be.
        rows: Generated images shown.
        columns: Training images beside each, at most k.
    """
    columns = min(columns, indices.shape[1])
    width = columns + 1
    across = max(1, 5 // width)
    order = np.argsort(distances[:, 0], kind="stable")[:rows]
    lines = math.ceil(len(order) / across)
    with mpl.rc_context(_STYLE):
        size = (1.45 * width * across, 1.72 * lines + 0.7)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.03, hspace=0.03))
        grid = figure.subplots(lines, width * across, squeeze=False)
        cells = grid.reshape(lines * across, width)
        for axes in cells[len(order) :].flat:
            axes.set_axis_off()
        for line, fake in zip(cells[: len(order)], order, strict=True):
            _show(line[0], fakes[fake], framed=bool(flagged[fake]))
            line[0].set_xlabel("generated: too close" if flagged[fake] else "generated", fontsize=8, labelpad=2)
            for rank, axes in enumerate(line[1:]):
                near = training[indices[fake, rank]]
                _show(axes, near[:, ::-1] if mirrored[fake, rank] else near, framed=bool(flagged[fake]) and rank == 0)
                mark = ", mirrored" if mirrored[fake, rank] else ""
                distance = round(float(distances[fake, rank]), 6)
                axes.set_xlabel(f"{distance:.3g}{mark}", fontsize=8, labelpad=2)
        for axes, title in zip(grid[0], ["synthetic", *_ordinals(columns)] * across, strict=True):
            axes.set_title(title, fontsize=8.5)
        figure.supxlabel(
            f"The {len(order)} of {len(fakes)} generated images that lie closest to a training image;\n"
            "below each training image its distance.  Framed: closer than the copy test allows.",
            fontsize=8,
        )
    return figure


def draw_ratios(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw every metric's matched value with its interval beside real-against-real, on one axis: 1 is the limit.

    Where less is better values are divided by the upper end of the floor; where more is better the lower end of the
    floor is divided by them; where near the real is better, by the end that is closer.  So what lies right of 1 is
    worse than real images are against each other, and the grey band is what these score.  The axis is linear up to 1
    and logarithmic beyond where a value needs it; what lies beyond 100 is drawn there as an arrow.

    Args:
        rows: Results of the metrics (``title``, ``space``, ``better``, ``matched``, ``matched_low``,
            ``matched_high``, ``floor_low``, ``floor_high``); those without, or with a limit not above 0, are not drawn.
    """
    drawn = [row for row in rows if _drawable(row)]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 1.2 + 0.42 * max(len(drawn), 1)), layout="constrained")
        axes = figure.add_subplot()
        furthest, lowest = 1.0, 0.0
        for height, row in enumerate(drawn):
            value, low, high, *floor = (
                _times(row, row[name]) for name in ("matched", "matched_low", "matched_high", "floor_low", "floor_high")
            )
            low, high = sorted((low, high))
            furthest, lowest = max(furthest, value, high), min(lowest, low, value, *floor)
            axes.barh(height, max(floor) - min(floor), 0.34, left=min(floor), color=_BAND, linewidth=0)
            axes.plot([low, high], [height, height], color=FAKE, linewidth=1.8, solid_capstyle="butt")
            shape, face = (">" if value >= _FURTHEST else "o"), (FAKE if stands(row) == "within" else "white")
            axes.plot(value, height, shape, color=FAKE, markersize=6.5, markerfacecolor=face)
            axes.text(
                0.005,
                height - 0.28,
                _row_name(row),
                transform=axes.get_yaxis_transform(),
                fontsize=8,
                bbox={"facecolor": "white", "linewidth": 0, "pad": 0.5},
            )
        axes.axvline(1, color="#444", linewidth=0.8, linestyle=":", zorder=0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(max(len(drawn), 1) - 0.6, -0.7)
        axes.set_xlabel("times the limit of real against real; right of 1 is worse")
        if furthest > _LINEAR_REACH:
            axes.set_xscale("symlog", linthresh=1, linscale=1)
            tens = [10.0**power for power in range(math.ceil(math.log10(furthest)) + 1)]
            ticks = [-1.0, -0.5, 0.0, 0.5, *(step for ten in tens for step in (ten, 3 * ten))]
            ticks = [tick for tick in ticks if lowest * 1.1 <= tick <= furthest * 1.25]
            axes.set_xticks(ticks, [f"{tick:g}".replace("-", "\u2212") for tick in ticks])
            axes.minorticks_off()
        axes.set_xlim(min(lowest * 1.1, 0.0), furthest * (1.25 if furthest > _LINEAR_REACH else 1.05))
        figure.suptitle(
            "Grey: real against real, 95 %.  Mark: generated against real, mean and 95 %,\n"
            "open where worse than real images.",
            fontsize=8.5,
        )
        if not drawn:
            axes.text(0.5, 0, "nothing to draw: no metric has a floor", ha="center", va="center")
    return figure


def distance_histogram(
    fake_to_train: NDArray[np.floating[Any]],
    test_to_train: NDArray[np.floating[Any]],
    threshold: float,
    reference: str = "real, not trained on",
) -> Figure:
    """Draw how close generated and held-out real images come to their closest training image.

    Args:
        fake_to_train: (N,) distance of each generated image to its closest training image.
        test_to_train: (K,) the same of real images that were not trained on (or, where there are none, of training
            images to those of other groups).
        threshold: Distance below which the copy test calls an image a copy.
        reference: What the images of ``test_to_train`` are, for the legend.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 3.9), layout="constrained")
        axes = figure.add_subplot()
        both = np.concatenate([fake_to_train, test_to_train, [threshold]])
        edges = np.histogram_bin_edges(both, bins=30, range=(min(0.0, float(both.min())), float(both.max())))
        sets = (
            (test_to_train, reference, REAL, "", True),
            (fake_to_train, "generated", FAKE, "////", False),
        )
        for values, name, colour, hatch, filled in sets:
            axes.hist(
                values,
                edges.tolist(),
                weights=np.full(len(values), 1 / max(len(values), 1)),
                histtype="stepfilled",
                facecolor=(*to_rgb(colour), 0.35) if filled else "none",
                edgecolor=colour,
                hatch=hatch,
                linewidth=1.4,
                label=f"{name}, {len(values)}",
            )
        axes.axvline(threshold, color="black", linewidth=1.4, linestyle="--", label=f"copy threshold {threshold:.3g}")
        axes.set_xlabel("distance to the closest training image")
        axes.set_ylabel("share of the images")
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        figure.legend(loc="outside upper left", ncols=1)
    return figure


def draw_fid_bias(counts: Sequence[int], fid: NDArray[np.floating[Any]], kid: NDArray[np.floating[Any]]) -> Figure:
    """Draw FID and KID of one real set against itself by number of images: both should be 0, FID is not.

    Args:
        counts: Images in each of the two disjoint halves, ascending.
        fid: (len(counts), repeats).
        kid: (len(counts), repeats).
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 3.3), layout="constrained")
        for axes, values, name, said in zip(
            figure.subplots(1, 2),
            (fid, kid),
            ("FID", "KID"),
            ("biased: falls with n", "unbiased: around 0"),
            strict=True,
        ):
            low, mean, high = np.percentile(values, 2.5, axis=1), values.mean(1), np.percentile(values, 97.5, axis=1)
            axes.axhline(0, color="#444", linewidth=1, linestyle=":")
            axes.fill_between(counts, low, high, color=_BAND, linewidth=0, label=f"95 % of {values.shape[1]} draws")
            axes.plot(counts, mean, "o-", color=REAL, markersize=4.5, linewidth=1.5, label="mean")
            axes.set_xscale("log", base=2)
            axes.set_xticks(list(counts), [str(count) for count in counts])
            axes.minorticks_off()
            axes.set_title(f"{name}, {said}", loc="left")
            axes.set_xlabel("images n in each half")
            axes.set_ylabel(f"{name} of real against real")
            axes.legend(loc="best")
        figure.suptitle(
            "One real set against itself, two disjoint halves: the true distance is 0 (dotted)", fontsize=9.5
        )
    return figure


def _sheet(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Lay (N, S, S, C) out in rows, white between them: (H, W, 3) uint8."""
    side = images.shape[1]
    lines = math.ceil(len(images) / columns)
    step = side + _GAP
    sheet = np.full((lines * step - _GAP, columns * step - _GAP, 3), 255, dtype=np.uint8)
    for number, pixels in enumerate(images):
        top, left = number // columns * step, number % columns * step
        sheet[top : top + side, left : left + side] = pixels
    return sheet


def _show(axes: Axes, pixels: NDArray[np.uint8], framed: bool = False) -> None:
    """Show one picture (H, W, 1 or 3), without ticks; framed thickly where asked."""
    axes.imshow(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=framed, color=FLAGGED, linewidth=3)


def _ordinals(count: int) -> list[str]:
    return ["closest training", *(f"{rank}." for rank in range(2, count + 1))]


def _drawable(row: Mapping[str, Any]) -> bool:
    return stands(row) != "" and row["floor_low" if _limit_is_low(row) else "floor_high"] > 0


def _limit_is_low(row: Mapping[str, Any]) -> bool:
    """Whether the floor's lower end is the limit: more is better, or the value should be near and lies below."""
    return bool(row["better"] == "high" or (row["better"] == "near" and row["matched"] < row["floor_low"]))


def _times(row: Mapping[str, Any], value: float) -> float:
    """Return how many times the limit of the floor a value lies out, at most `_FURTHEST`."""
    if not _limit_is_low(row):
        return float(min(value / row["floor_high"], _FURTHEST))
    return float(min(row["floor_low"] / value, _FURTHEST)) if value > 0 else _FURTHEST


def _row_name(row: Mapping[str, Any]) -> str:
    wanted = {"low": "smaller is better", "high": "larger is better", "near": "near real is better"}[row["better"]]
    return f"{row['title']} ({row['space']}); {wanted}" if row["space"] else f"{row['title']}; {wanted}"
