"""Measure what trust's rules read off each scan of each collection, for the tables of this study.

    python training/studies/trust/left_out.py DATA RUN OUT.csv.gz

DATA holds the collections, RUN is a run of them with each left out in turn, whose results hold the distances of each
scan.  Limits and weights are fitted by `tables.py`, each on the other collections.
"""

from __future__ import annotations

import csv
import gzip
import json
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
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset

COLLECTIONS = ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC")
SIDE, BLUR, EVERY = 256, 2, 3  # every third scan is blurred, too
DETAIL = [f"detail_{band}" for band in range(ROWS // 2)]  # the lower half of a profile is the upper, negated
FIELDS = (
    *("collection", "sharpness", "contrast", "saturated", "blurred", "dark", "colour", "grain", "two_scans"),
    *(*DETAIL, "d", "k"),
)


def measure(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Measure a view (S, S, 3)."""
    quality = quality_metrics.measure(pixels, SIDE, SIDE)
    return {
        **{name: quality[name] for name in ("sharpness", "contrast", "saturated")},
        "dark": float(dark_columns(pixels[None])[0]),
        "colour": float(coloured_share(pixels[None])[0]),
        "grain": float(flatness(pixels[None])[0]),
        "two_scans": float(meets_in_a_seam(pixels[..., 1])),
        **dict(zip(DETAIL, profile(pixels[None])[0].tolist(), strict=False)),
    }


def blur(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Measure the sharpness of a view (S, S, 3) once it is blurred."""
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BLUR)))
    return {"blurred": quality_metrics.measure(blurred, SIDE, SIDE)["sharpness"]}


def distances(run: Path) -> dict[str, dict[str, float]]:
    """Return both distances of each scan of a run by ``collection/file``, each by a network that had not seen it."""
    trust = json.loads((run / "results.json").read_text(encoding="utf-8"))["arms"]["real"]["trust"]
    with (run / "predictions.csv").open(encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["seed"] == "0"]
    both = zip(names, trust["distances"], trust["neighbours"], strict=True)
    return {name: {"d": d, "k": k} for name, d, k in both}


def main() -> None:
    data, run, out = map(Path, sys.argv[1:])
    apart = distances(run)
    with gzip.open(out, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for name in (name for name in COLLECTIONS if (data / name).is_dir()):
            cache = open_cache(read_dataset(data / name), SIDE)
            for number, (scan, own) in enumerate(zip(cache.images, cache.dataset.items, strict=True)):
                found = measure(scan) | apart[f"{name}/{own.path}"] | ({} if number % EVERY else blur(scan))
                writer.writerow({"collection": name, **{key: f"{value:.5g}" for key, value in found.items()}})


if __name__ == "__main__":
    main()
