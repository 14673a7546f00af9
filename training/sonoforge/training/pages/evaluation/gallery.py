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
from sonoforge.training.copies.generated import FoundCopies, find_copies, stands
from sonoforge.training.copies.nearest_training import (
    Nearest,
    data_copying,
    nearest_few,
    nearest_other_group,
    nearest_training,
)
from sonoforge.training.evaluation.image_set import ImageSet, joined_sets
from sonoforge.training.evaluation.projections import embedding_map, hull_overlap, pca_projection
from sonoforge.training.evaluation.results import CopyResult, KindRecall, MetricRow
from sonoforge.training.gan.checkpoint import DESCRIPTION
from sonoforge.training.gan.progress.curves import draw_curves
from sonoforge.training.gan.progress.ticks import read_stats
from sonoforge.training.metrics.spaces import Embedded
from sonoforge.training.pages.evaluation import charts, sheets

SHOWN_COPIES, SHOWN_NEAREST = 8, 4  # generated images, and training images beside each

Figures = dict[str, Figure]


def find_and_draw_copies(
    real: ImageSet, fake: ImageSet, held_out: tuple[ImageSet, NDArray[np.int64]] | None, seed: int
) -> tuple[CopyResult, Figures]:
    """Run the copy test and draw ``scores``, ``distances`` and ``nearest``; ``seed`` is of the planted copies.

    Raises:
        SonoforgeError: Too few groups to calibrate with.
    """
    groups, calibrating = real.groups, None
    if held_out is not None:
        groups = joined_sets(real, held_out[0]).groups[: len(real)]
        calibrating = (held_out[0].pixels, held_out[1])
    found = find_copies(fake.pixels, real.pixels, groups, calibrating, seed=seed)
    distance = nearest_training(fake.pixels, real.pixels).distance
    if calibrating is None:
        compared = nearest_other_group(real.pixels, groups).distance
    else:
        compared = nearest_training(calibrating[0], real.pixels).distance
    test, score = found.test, np.where(found.best.score > found.test.threshold, found.best.score, 0.0)
    order = np.lexsort((distance, -score))  # copies first, then those nearest to a training image
    shown, flagged = order[:SHOWN_COPIES], order[: test.copies]
    few = _matched_first(nearest_few(fake.pixels[shown], real.pixels, SHOWN_NEAREST), found, shown)
    figures = {
        "scores": charts.copy_histogram(
            found.best.score, found.real.score, test.calibration, "score of the best match", test.threshold
        ),
        "distances": charts.copy_histogram(
            distance, compared, test.calibration, "distance to the closest training image"
        ),
        "nearest": sheets.nearest_sheet(fake.pixels[shown], real.pixels, few, score[shown]),
    }
    result = CopyResult(
        calibration=test.calibration,
        calibrating=test.calibrating,
        alpha=test.alpha,
        false_alarm=test.level,
        threshold=test.threshold,
        images=test.generated,
        copies=test.copies,
        share=test.share.value,
        low=test.share.low,
        high=test.share.high,
        memorised=test.memorised,
        p_value=test.p_value,
        data_copying_z=data_copying(distance, compared),
        flagged=[fake.names[index] for index in flagged],
        nearest=[real.names[found.best.training_index[index]] for index in flagged],
        scores=score[flagged].tolist(),
        recall=[
            KindRecall(
                kind=row.kind,
                planted=row.planted,
                found=row.found,
                recall=row.recall.value,
                low=row.recall.low,
                high=row.recall.high,
                holds=stands(row),
            )
            for row in found.recall
        ],
    )
    return result, figures


def _matched_first(nearest: Nearest, found: FoundCopies, shown: NDArray[np.intp]) -> Nearest:
    """Put the training image that a copy was found to be of before the nearest ones, (N, k) of images ``shown``."""
    result = Nearest(nearest.distance.copy(), nearest.training_index.copy(), nearest.mirrored.copy())
    for row, index in enumerate(shown.tolist()):
        matched = int(found.best.training_index[index])
        if found.best.score[index] <= found.test.threshold:
            continue
        kept = np.flatnonzero(nearest.training_index[row] != matched)[: nearest.training_index.shape[1] - 1]
        result.training_index[row] = [matched, *nearest.training_index[row, kept]]
        result.mirrored[row] = [found.best.mirrored[index], *nearest.mirrored[row, kept]]
        result.distance[row] = [0.0, *nearest.distance[row, kept]]
    return result


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
