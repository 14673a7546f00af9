"""Measure what trust's rules read off each scan of each collection, for the tables of this study.

    python training/studies/trust/left_out.py DATA OUT.csv.gz [NAME=BUNDLE ...]

DATA holds the collections, and BUNDLE is a bundle whose network was not trained on the collection NAME: only for these
scans are the distances judged.  Limits and weights are fitted by `tables.py`, each on the other collections.
"""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sonoforge.runtime.images import quality_metrics
from sonoforge.runtime.images.scan_checks import (
    ROWS,
    coloured_share,
    dark_columns,
    flatness,
    meets_in_a_seam,
    profile,
)
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.trust import mahalanobis_distances, neighbour_distances, read_references
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset

COLLECTIONS = ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC")
SIDE, BLUR, EVERY = 256, 2, 3  # every third scan is blurred, too
DETAIL = [f"detail_{band}" for band in range(ROWS // 2)]  # the lower half of a profile is the upper, negated
FIELDS = (
    *("collection", "sharpness", "contrast", "saturated", "blurred", "dark", "colour", "two_scans"),
    *(*DETAIL, "foreign", "far", "far_from_nearest"),
)


def measure(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Measure a view (S, S, 3)."""
    quality = quality_metrics.measure(pixels, SIDE, SIDE)
    return {
        **{name: quality[name] for name in ("sharpness", "contrast", "saturated")},
        "dark": float(dark_columns(pixels[None])[0]),
        "colour": float(coloured_share(pixels[None])[0]),
        "two_scans": float(meets_in_a_seam(pixels[..., 1])),
        **dict(zip(DETAIL, profile(pixels[None])[0].tolist(), strict=False)),
    }


def blur(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Measure the sharpness of a view (S, S, 3) once it is blurred."""
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BLUR)))
    return {"blurred": quality_metrics.measure(blurred, SIDE, SIDE)["sharpness"]}


def distances(pixels: NDArray[np.uint8], bundle: Classifier) -> dict[str, float]:
    """Say of a view (S, S, 3) whether its distances are beyond a bundle's limits."""
    manifest, (gaussian, points, *_) = bundle.bundle.manifest, read_references(bundle.bundle)
    embedding, checks = bundle.predict(pixels[None])["embedding"], manifest.checks
    d, k = mahalanobis_distances(embedding, gaussian)[0], neighbour_distances(embedding, points)[0]
    deep = d > manifest.trust.threshold and checks.grain is not None and flatness(pixels[None])[0] < checks.grain
    found = {"foreign": d > checks.foreign or deep, "far": d > manifest.trust.threshold}
    found["far_from_nearest"] = k > checks.neighbours.threshold
    return {name: float(is_so) for name, is_so in found.items()}


def main() -> None:
    data, out, *bundles = sys.argv[1:]
    judges = {name: Classifier(path) for name, _, path in (one.partition("=") for one in bundles)}
    with gzip.open(out, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        present = [name for name in COLLECTIONS if (Path(data) / name).is_dir()]
        scans = ((name, scan) for name in present for scan in open_cache(read_dataset(Path(data) / name), SIDE).images)
        for number, (name, scan) in enumerate(scans):
            found = measure(scan) | (distances(scan, judges[name]) if name in judges else {})
            found |= {} if number % EVERY else blur(scan)
            writer.writerow({"collection": name, **{key: f"{value:.5g}" for key, value in found.items()}})


if __name__ == "__main__":
    main()
