"""The images on which an exported file must answer as the trained network does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.statistics.predictions import read_predictions

log = logging.getLogger(__name__)

FEWEST = 100
MOST = 1000
PHANTOMS = 120


class GateImages(NamedTuple):
    """Images, and what is known of them.

    Attributes:
        pixels: (N, S, S, 3) uint8, as the runtime resizes them.
        files: The N image files.
        labels: (N,) index of the true class, or None where the set has other classes than the model.
        sealed: (N, C) cross-validated probabilities of these images, each from a model that saw neither the image nor
            a near-duplicate of it; None where there are none.
        source: What the images are, for the record.
    """

    pixels: NDArray[np.uint8]
    files: tuple[Path, ...]
    labels: NDArray[np.int64] | None
    sealed: NDArray[np.float64] | None
    source: str

    @property
    def names(self) -> list[str]:
        """Class folder and file name of each image."""
        return [f"{file.parent.name}/{file.name}" for file in self.files]


def find_images(
    data: str, run: Path | None, settings: dict[str, Any], classes: tuple[str, ...], arm: str
) -> GateImages:
    """Choose the images: those of ``data``, or the run's own, or else simulated scans.

    Args:
        data: A folder of images, ``phantom``, or empty for the run's own.
        run: The run folder, whose ``predictions.csv`` has the sealed answers; None for a bundle.
        settings: The run's settings (``data``, ``images``, ``seed``, ``cache``), empty for a bundle.
        classes: The model's classes.
        arm: The arm of the comparison that the model belongs to.

    Raises:
        SonoforgeError: Fewer than `FEWEST` images, or no such folder.
    """
    cache_folder = str(settings.get("cache") or "")
    phantoms = ImageSource("phantom", PHANTOMS, 0, cache_folder)
    own = ImageSource(
        str(settings.get("data") or "phantom"),
        int(settings.get("images") or PHANTOMS),
        int(settings.get("seed") or 0),
        cache_folder,
    )
    if data:
        cache = load_images(phantoms if data == "phantom" else own._replace(data=data))
    elif own.data != "phantom" and not Path(own.data).is_dir():
        log.warning("%s: the run's images no longer exist; files are checked on simulated scans", own.data)
        cache = load_images(phantoms)
    else:
        cache = load_images(own)
        if len(cache.images) < FEWEST:
            log.info("the run has %d images: files are checked on %d simulated scans", len(cache.images), PHANTOMS)
            cache = load_images(phantoms)
    chosen = evenly_spaced(len(cache.images), MOST)
    if len(chosen) < FEWEST:
        raise SonoforgeError(
            f"{cache.dataset.root}: found {len(chosen)} images, expected at least {FEWEST} to check files on; "
            "give a larger folder as data, or phantom"
        )
    if cache.size != IMAGENET.size:
        raise SonoforgeError(f"{cache.dataset.root}: found images of {cache.size} pixels, expected {IMAGENET.size}")
    names = [cache.dataset.items[index].path for index in chosen]
    known = cache.dataset.classes == classes
    return GateImages(
        np.asarray(cache.images[chosen]),
        tuple(cache.dataset.root / name for name in names),
        cache.dataset.labels[chosen] if known else None,
        _sealed(run, names, classes, arm, cache) if known and run is not None else None,
        f"{len(chosen)} images of {cache.dataset.name}",
    )


def _sealed(
    run: Path, names: list[str], classes: tuple[str, ...], arm: str, cache: ImageCache
) -> NDArray[np.float64] | None:
    """Look the images up among the run's cross-validated predictions."""
    path = run / "predictions.csv"
    if not path.is_file():
        return None
    parts, columns = read_predictions(path)
    part = next((part for part in parts if (part.arm, part.protocol) == (arm, "sealed")), None)
    if part is None or columns != classes:
        return None
    rows = {file: row for row, file in enumerate(part.files)}
    if any(name not in rows for name in names):
        log.warning("%s: has other images than %s: sealed predictions are left out", path, cache.dataset.root)
        return None
    return part.probabilities[[rows[name] for name in names]]
