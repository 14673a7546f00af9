"""The pictures of one evaluation, as PNG bytes by the names that the page knows, and the figures drawn in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sonoforge.training import run_folder
from sonoforge.training.evaluation.image_set import ImageSet, joined_sets
from sonoforge.training.evaluation.projections import embedding_map, hull_overlap, pca_projection
from sonoforge.training.gan.checkpoint import DESCRIPTION
from sonoforge.training.gan.progress.curves import draw_curves
from sonoforge.training.gan.progress.ticks import read_stats
from sonoforge.training.metrics import copies
from sonoforge.training.metrics.spaces import Embedded
from sonoforge.training.pages.evaluation import pictures

SHOWN_COPIES, SHOWN_NEAREST = 8, 4  # generated images, and training images beside each

Pictures = dict[str, bytes]


def find_and_draw_copies(
    real: ImageSet, fake: ImageSet, held_out: tuple[ImageSet, NDArray[np.int64]] | None, images: Pictures
) -> dict[str, Any]:
    """Run the copy test and draw ``distances`` and ``nearest``.

    Args:
        real: What the generator was trained on.
        fake: The generated images.
        held_out: From `image_sets.read_held_out`, or None.
        images: Takes the pictures.

    Returns:
        The test's figures, see `pages.evaluation.page.write_page`; ``flagged`` and ``nearest`` are the
        names of the generated images that lie too close, the closest first, and of the training images beside them.

    Raises:
        SonoforgeError: Too few groups to calibrate with.
    """
    groups, calibrating = real.groups, None
    if held_out is not None:
        groups = joined_sets(real, held_out[0]).groups[: len(real)]
        calibrating = (held_out[0].pixels, held_out[1])
    found, nearest = copies.find_copies(fake.pixels, real.pixels, groups, calibrating)
    compared = (
        copies.nearest_other_group(real.pixels, groups)
        if calibrating is None
        else copies.nearest_training(calibrating[0], real.pixels)
    )
    flagged = nearest.distance < found.threshold
    order = np.argsort(nearest.distance, kind="stable")
    histogram = pictures.distance_histogram(nearest.distance, compared.distance, found.threshold, found.calibration)
    images["distances"] = pictures.png_bytes(histogram)
    shown = order[:SHOWN_COPIES]
    few = copies.nearest_few(fake.pixels[shown], real.pixels, SHOWN_NEAREST)
    sheet = pictures.nearest_sheet(
        fake.pixels[shown], real.pixels, few.training_index, few.distance, few.mirrored, flagged[shown],
        rows=SHOWN_COPIES, columns=SHOWN_NEAREST,
    )  # fmt: skip
    images["nearest"] = pictures.png_bytes(sheet)
    order = order[: found.copies]
    return {
        "calibration": found.calibration,
        "calibrating": found.calibrating,
        "alpha": found.alpha,
        "false_alarm": found.level,
        "threshold": found.threshold,
        "images": found.generated,
        "copies": found.copies,
        "share": found.share.value,
        "low": found.share.low,
        "high": found.share.high,
        "memorised": found.memorised,
        "p_value": found.p_value,
        "data_copying_z": found.data_copying,
        "flagged": [fake.names[index] for index in order],
        "nearest": [real.names[nearest.training_index[index]] for index in order],
    }


def draw_projections(
    methods: Sequence[str],
    real: NDArray[np.uint8],
    fake: NDArray[np.uint8],
    real_embedded: Embedded,
    fake_embedded: Embedded,
    space: str,
    seed: int,
    images: Pictures,
) -> dict[str, Any]:
    """Lay both sets into the plane: pixels by ``pca``, embeddings by ``tsne`` and ``umap``.

    Returns:
        By method its protocol; of ``pca`` the explained variance and the overlap of the hulls, too.
    """
    found: dict[str, Any] = {}
    for method in methods:
        if method == "pca":
            projection = pca_projection(real, fake)
            overlap = hull_overlap(projection.real, projection.fake)
            explained = [] if projection.explained is None else projection.explained.tolist()
            found[method] = {"protocol": projection.protocol, "explained": explained, **dataclasses.asdict(overlap)}
            figure = pictures.draw_projection(projection, "Principal components of the real images' pixels", overlap)
        else:
            projection = embedding_map(real_embedded.features, fake_embedded.features, method, seed)
            found[method] = {"protocol": f"{projection.protocol}; {space}"}
            figure = pictures.draw_projection(projection, f"{method}: {space}")
        images[method] = pictures.png_bytes(figure)
    return found


def draw_sets(
    real: NDArray[np.uint8], fake: NDArray[np.uint8], rows: Sequence[Mapping[str, Any]], run: Path, images: Pictures
) -> None:
    """Draw ``samples``, ``ratios`` and, where the images are from a run of ``gan train``, its ``curves``."""
    images["samples"] = pictures.png_bytes(pictures.sample_sheet(real, fake))
    if rows:
        images["ratios"] = pictures.png_bytes(pictures.draw_ratios(rows))
    curves = _training_curves(run)
    if curves is not None:
        images["curves"] = pictures.png_bytes(curves)


def _training_curves(run: Path) -> Figure | None:
    folder = run.resolve().parent.parent if (run / DESCRIPTION).is_file() else run  # of a checkpoint, or of a run
    rows = read_stats(folder, 2**62) if (folder / "stats.jsonl").is_file() else []
    if not rows:
        return None
    best = run_folder.read_results(folder).get("best_step") if run_folder.is_finished(folder) else None
    return draw_curves(rows, best)
