"""The reference bands of image quality in the scans' own pixels, from the training images' files.

A new bundle gets them when its model is trained.  An older one gets them without a change to its network by

    python -m sonoforge.training.classifier.scan_bands BUNDLE DATA

where DATA is the very set that it was trained on: the bundle's fingerprint decides.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images import scan_metrics
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.grey_levels import grey_levels
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.cache_settings import default_folder
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.selection import evenly_spaced

_MOST = 256  # images: the 5th percentile then rests on 13, and a training waits some seconds


class Band(TypedDict):
    """5th and 95th percentile of a metric."""

    low: float
    high: float


class ScanBands(TypedDict):
    """The bands and the number of images that they are from, as ``quality.scan`` of a manifest holds them."""

    count: int
    bands: dict[str, Band]


def scan_bands(cache: ImageCache, indices: NDArray[np.int64], preprocessing: Preprocessing) -> ScanBands:
    """Measure up to 256 evenly spaced images of a training set in their own pixels.

    Args:
        cache: The data set; its files are read again, as the cache holds small views.
        indices: Of the training images.
        preprocessing: Says which part of an image is the scan.

    Returns:
        A metric that none of the images has a value for is left out.
    """
    chosen = indices[evenly_spaced(len(indices), _MOST)]

    def measure(index: int) -> dict[str, float]:
        scan = preprocessing.seen(read_image(cache.dataset.file(cache.dataset.items[index].path)))
        return scan_metrics.measure(grey_levels(scan))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(pool.map(measure, chosen.tolist()))
    bands = {}
    for name in rows[0]:
        values = [row[name] for row in rows if np.isfinite(row[name])]
        if values:
            low, high = np.percentile(values, (5, 95)).tolist()
            bands[name] = Band(low=low, high=high)
    return ScanBands(count=len(rows), bands=bands)


def add_scan_bands(folder: Path, data: Path) -> None:
    """Write the bands into the manifest of a classifier's bundle; all else stays.

    Raises:
        SonoforgeError: The images are not those of the bundle's training.
    """
    manifest = open_bundle(folder).manifest
    if not isinstance(manifest, ClassifierManifest):
        raise SonoforgeError(f"{folder}: found a bundle of {manifest.owner}, expected one of a classifier")
    seen = manifest.preprocessing
    cache = open_cache(read_dataset(data), seen.size, default_folder(), seen.crop)
    trained = manifest.raw["training"].get("fingerprint")
    if cache.fingerprint != trained:
        raise SonoforgeError(
            f"{data}: found images with the fingerprint {cache.fingerprint[:16]}, expected {str(trained)[:16]}, those "
            f"that {folder} was trained on; give these"
        )
    raw = json.loads((folder / "manifest.json").read_bytes())
    raw["quality"]["scan"] = scan_bands(cache, np.arange(len(cache.hashes)), manifest.preprocessing)
    atomic.write_json(folder / "manifest.json", raw)
    open_bundle(folder)  # the reader must accept what was written


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m sonoforge.training.classifier.scan_bands BUNDLE DATA")
    try:
        add_scan_bands(Path(sys.argv[1]), Path(sys.argv[2]))
    except SonoforgeError as error:
        sys.stderr.write(f"sonoforge: {error}\n")
        sys.exit(2)
