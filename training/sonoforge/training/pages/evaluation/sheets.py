"""Sheets of images: real above generated, and generated beside their closest training images."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from sonoforge.training.copies.nearest_training import Nearest
from sonoforge.training.data.selection import evenly_spaced

_FLAGGED = "#c00000"
_GAP = 2  # pixels between images
_styled = mpl.rc_context({"font.size": 9, "axes.titlesize": 9.5, "text.parse_math": False})


@_styled
def sample_sheet(real: NDArray[np.uint8], fake: NDArray[np.uint8], columns: int = 8, rows: int = 2) -> Figure:
    """Draw rows of real images above rows of generated ones: evenly spaced in each set, none picked by hand."""
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

    A training image that is closest as its mirror image is shown mirrored, and marked so.  With one training image
    for each, two pairs share a line.

    Args:
        fakes: The generated images, N >= 1.
        training: (M, S, S, C) all training images.
        nearest: Fields (N, k); of a copy, the first is the one that it is a copy of.
        score: (N,) score of the match with that one; 0 for an image that is no copy.
    """
    width = nearest.distance.shape[1] + 1
    across = max(1, 5 // width)
    lines = math.ceil(len(fakes) / across)
    size = (1.45 * width * across, 1.72 * lines + 0.7)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.03, hspace=0.03))
    grid = figure.subplots(lines, width * across, squeeze=False)
    cells = grid.reshape(lines * across, width)
    for axes in cells[len(fakes) :].flat:
        axes.set_axis_off()
    for fake, line in enumerate(cells[: len(fakes)]):
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
    ordinals = ["closest training", *(f"{rank}." for rank in range(2, width))]
    for axes, title in zip(grid[0], ["synthetic", *ordinals] * across, strict=True):
        axes.set_title(title, fontsize=8.5)
    figure.supxlabel(
        "Copies first, then the generated images that are closest to a training image, with the distances.\n"
        "Framed: found to be a copy of the training image beside it, with the score of the match.",
        fontsize=8,
    )
    return figure


def _sheet(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Arrange (N, S, S, C) in rows, white between them: (H, W, 3) uint8."""
    side = images.shape[1]
    lines = math.ceil(len(images) / columns)
    step = side + _GAP
    sheet = np.full((lines * step - _GAP, columns * step - _GAP, 3), 255, dtype=np.uint8)
    for number, pixels in enumerate(images):
        top, left = number // columns * step, number % columns * step
        sheet[top : top + side, left : left + side] = pixels
    return sheet


def _show(axes: Axes, pixels: NDArray[Any], framed: bool = False) -> None:
    """Show one picture (H, W, 1 or 3) without ticks, in a thick frame if ``framed``."""
    axes.imshow(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=framed, color=_FLAGGED, linewidth=3)
