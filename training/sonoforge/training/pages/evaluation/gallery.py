"""The pictures of one evaluation by the names that the page knows, and the figures drawn in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sonoforge.training import run_folder
from sonoforge.training.evaluation.image_set import ImageSet, joined_sets
from sonoforge.training.evaluation.projections import embedding_map, hull_overlap, pca_projection
from sonoforge.training.evaluation.results import CopyResult, MetricRow
from sonoforge.training.gan.checkpoint import DESCRIPTION
from sonoforge.training.gan.progress.curves import draw_curves
from sonoforge.training.gan.progress.ticks import read_stats
from sonoforge.training.metrics import copies
from sonoforge.training.metrics.spaces import Embedded
from sonoforge.training.pages.evaluation import charts, sheets

SHOWN_COPIES, SHOWN_NEAREST = 8, 4  # generated images, and training images beside each

Figures = dict[str, Figure]


def find_and_draw_copies(
    real: ImageSet, fake: ImageSet, held_out: tuple[ImageSet, NDArray[np.int64]] | None
) -> tuple[CopyResult, Figures]:
    """Run the copy test and draw ``distances`` and ``nearest``.

    Raises:
        SonoforgeError: Too few groups to calibrate with.
    """
    groups, calibrating = real.groups, None
    if held_out is not None:
        groups = joined_sets(real, held_out[0]).groups[: len(real)]
        calibrating = (held_out[0].pixels, held_out[1])
    found, nearest = copies.find_copies(fake.pixels, real.pixels, groups, calibrating)
    if calibrating is None:
        compared = copies.nearest_other_group(real.pixels, groups)
    else:
        compared = copies.nearest_training(calibrating[0], real.pixels)
    order = np.argsort(nearest.distance, kind="stable")
    shown, flagged = order[:SHOWN_COPIES], order[: found.copies]
    few = copies.nearest_few(fake.pixels[shown], real.pixels, SHOWN_NEAREST)
    too_close = nearest.distance[shown] < found.threshold
    figures = {
        "distances": charts.distance_histogram(nearest.distance, compared.distance, found.threshold, found.calibration),
        "nearest": sheets.nearest_sheet(fake.pixels[shown], real.pixels, few, too_close, rows=SHOWN_COPIES),
    }
    result = CopyResult(
        calibration=found.calibration,
        calibrating=found.calibrating,
        alpha=found.alpha,
        false_alarm=found.level,
        threshold=found.threshold,
        images=found.generated,
        copies=found.copies,
        share=found.share.value,
        low=found.share.low,
        high=found.share.high,
        memorised=found.memorised,
        p_value=found.p_value,
        data_copying_z=found.data_copying,
        flagged=[fake.names[index] for index in flagged],
        nearest=[real.names[nearest.training_index[index]] for index in flagged],
    )
    return result, figures


def draw_projections(
    methods: Sequence[str],
    pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    embedded: tuple[Embedded, Embedded],
    space: str,
    seed: int,
) -> tuple[dict[str, Any], Figures]:
    """Map both sets to the plane: pixels by ``pca``, embeddings by ``tsne`` and ``umap``.

    Returns:
        By method its protocol, with the explained variance and the overlap of the hulls for ``pca``; and the pictures.
    """
    found: dict[str, Any] = {}
    figures: Figures = {}
    for method in methods:
        if method == "pca":
            projection = pca_projection(*pixels)
            overlap = hull_overlap(projection.real, projection.fake)
            explained = [] if projection.explained is None else projection.explained.tolist()
            found[method] = {"protocol": projection.protocol, "explained": explained, **dataclasses.asdict(overlap)}
            figures[method] = charts.draw_projection(projection, overlap)
        else:
            projection = embedding_map(embedded[0].features, embedded[1].features, method, seed)
            found[method] = {"protocol": f"{projection.protocol}; {space}"}
            figures[method] = charts.draw_projection(projection)
    return found, figures


def draw_sets(pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]], rows: Sequence[MetricRow], run: Path) -> Figures:
    """Draw ``samples``, ``ratios`` and, where the images are from a run of ``gan train``, its ``curves``."""
    figures = {"samples": sheets.sample_sheet(*pixels)}
    if rows:
        figures["ratios"] = charts.draw_ratios(rows)
    curves = _training_curves(run)
    return figures | ({"curves": curves} if curves is not None else {})


def _training_curves(run: Path) -> Figure | None:
    folder = run.resolve().parent.parent if (run / DESCRIPTION).is_file() else run  # of a checkpoint, or of a run
    rows = read_stats(folder, 2**62) if (folder / "stats.jsonl").is_file() else []
    if not rows:
        return None
    best = run_folder.read_results(folder).get("best_step") if run_folder.is_finished(folder) else None
    return draw_curves(rows, best)
