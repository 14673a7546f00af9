"""The pictures of one evaluation by the names that the page knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sonoforge.training import run_folder
from sonoforge.training.evaluation.copy_test import TestedCopies
from sonoforge.training.evaluation.projections import HullOverlap, Projection
from sonoforge.training.evaluation.results import MetricRow
from sonoforge.training.gan.checkpoint import DESCRIPTION
from sonoforge.training.gan.progress.curves import draw_curves
from sonoforge.training.gan.progress.ticks import read_stats
from sonoforge.training.pages.evaluation import charts, sheets

Figures = dict[str, Figure]


def draw_copies(tested: TestedCopies, real: NDArray[np.uint8], fake: NDArray[np.uint8]) -> Figures:
    """Draw ``scores``, ``distances`` and ``nearest`` of a copy test on training and generated images (N, S, S, C)."""
    source, threshold = tested.result["calibration"], tested.result["threshold"]
    scores, distances = "score of the best match", "distance to the closest training image"
    return {
        "scores": charts.copy_histogram(*tested.scores, source, scores, threshold),
        "distances": charts.copy_histogram(*tested.distances, source, distances),
        "nearest": sheets.nearest_sheet(fake[tested.shown], real, tested.nearest, tested.shown_scores),
    }


def draw_maps(maps: Mapping[str, tuple[Projection, HullOverlap | None]]) -> Figures:
    """Draw each map of both sets by its method."""
    return {method: charts.draw_projection(*found) for method, found in maps.items()}


def draw_sets(pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]], rows: Sequence[MetricRow], run: Path) -> Figures:
    """Draw ``samples``, ``ratios``, ``spectrum`` if it was measured, and ``curves`` of a run of ``gan train``."""
    figures = {"samples": sheets.sample_sheet(*pixels)}
    if rows:
        figures["ratios"] = charts.draw_ratios(rows)
    if any(row["name"] == "spectrum" for row in rows):
        figures["spectrum"] = charts.draw_spectrum(*pixels)
    curves = _training_curves(run)
    return figures | ({"curves": curves} if curves is not None else {})


def _training_curves(run: Path) -> Figure | None:
    folder = run.resolve().parent.parent if (run / DESCRIPTION).is_file() else run  # of a checkpoint, or of a run
    rows = read_stats(folder, 2**62) if (folder / "stats.jsonl").is_file() else []
    if not rows:
        return None
    best = run_folder.read_results(folder).get("best_step") if run_folder.is_finished(folder) else None
    return draw_curves(rows, best)
