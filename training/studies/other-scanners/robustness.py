"""How far a bundle's AUC falls on scans disturbed as by another scanner, setting or hand, and whether trust notices.

    python training/studies/other-scanners/robustness.py RUN --external NAME:PATH [--bundle RUN/bundle] [--images 300]

RUN is of ``sonoforge validate`` with the same images; ``robustness`` of each collection is written into its
``results.json``, from where ``sonoforge export --evidence RUN`` takes it into the model card.

Grey levels of B-mode scans are logarithms: with the usual dynamic range of 60 dB over 255 levels, a decibel is 4.25
levels, and gain, attenuation and shadow are sums.  Lengths are shares of the picture, so strengths do not depend on its
size.  Seeds depend on the file alone, so two bundles see the same disturbances.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.trust import Cause
from sonoforge.runtime.jobs.answering import answer_all
from sonoforge.training.data.cache import default_folder
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.statistics.classification import auc_by_group, weighted_auc
from sonoforge.training.statistics.intervals import Floats, paired_bootstrap, wilson_by_group
from sonoforge.training.statistics.tables import second_of_two
from sonoforge.training.validation.figures import collapse, read_external

Levels = NDArray[np.float64]
"""(H, W) grey levels, 0..255."""

DECIBEL = 255 / 60
"""Grey levels, see above."""


class Disturbance(NamedTuple):
    """One kind of disturbance."""

    strengths: tuple[float, float, float]
    apply: Callable[[Levels, float, np.random.Generator], Levels]


def _shadow(levels: Levels, decibels: float, rng: np.random.Generator) -> Levels:
    """Darken a band, a quarter of the width, from a random depth in the upper third on: air, a rib, a calcification."""
    height, width = levels.shape
    column, row = rng.uniform(0.2, 0.8) * width, rng.uniform(0.05, 0.33) * height
    across = np.exp(-0.5 * ((np.arange(width) - column) / (0.125 * width)) ** 4)
    down = 1 / (1 + np.exp(-(np.arange(height) - row) / (0.02 * height)))
    darker: Levels = levels - DECIBEL * decibels * down[:, None] * across
    return darker


def _gain(levels: Levels, decibels: float, rng: np.random.Generator) -> Levels:
    return levels + DECIBEL * decibels


def _attenuation(levels: Levels, decibels: float, rng: np.random.Generator) -> Levels:
    """Darken with depth: a time-gain compensation set too low."""
    darker: Levels = levels - DECIBEL * decibels * np.linspace(0, 1, len(levels))[:, None]
    return darker


def _deeper(levels: Levels, factor: float, rng: np.random.Generator) -> Levels:
    """Squeeze the picture upwards, above deeper tissue: its lower part mirrored, 20 dB darker at the bottom."""
    height, width = levels.shape
    upper = round(height / factor)
    squeezed = np.asarray(_image(levels).resize((width, upper), Image.Resampling.BILINEAR), np.float64)
    below = squeezed[::-1][: height - upper]
    return np.concatenate([squeezed, below - 20 * DECIBEL * np.linspace(0, 1, len(below))[:, None]])


def _haze(levels: Levels, amount: float, rng: np.random.Generator) -> Levels:
    """Add clutter that fades with depth: reverberation and side lobes, bright where tissue is dark."""
    height, width = levels.shape
    field = ndimage.gaussian_filter(rng.normal(size=(height, width)), (0.01 * height, 0.06 * width))
    depth = np.exp(-np.linspace(0, 3, height))[:, None]
    clutter = 255 * amount * depth * np.clip(0.7 + 0.3 * field / field.std(), 0, None)
    hazy: Levels = np.maximum(levels, clutter)
    return hazy


def _blur(levels: Levels, radius: float, rng: np.random.Generator) -> Levels:
    """Blur by a share of the width: a focus set elsewhere."""
    return np.asarray(_image(levels).filter(ImageFilter.GaussianBlur(radius * levels.shape[1])), np.float64)


def _jpeg(levels: Levels, quality: float, rng: np.random.Generator) -> Levels:
    stream = io.BytesIO()
    _image(levels).save(stream, "JPEG", quality=int(quality))
    return np.asarray(Image.open(stream).convert("L"), np.float64)


def _crop(levels: Levels, share: float, rng: np.random.Generator) -> Levels:
    """Cut away a share of height and width, unevenly from both sides."""
    height, width = levels.shape
    top, left = (int(rng.uniform(0, share) * side) for side in (height, width))
    return levels[top : top + round((1 - share) * height), left : left + round((1 - share) * width)]


def _speckle(levels: Levels, decibels: float, rng: np.random.Generator) -> Levels:
    """Add coarser speckle: a probe of lower frequency, or less frame averaging."""
    height, width = levels.shape
    field = ndimage.gaussian_filter(rng.normal(size=(height, width)), (0.004 * height, 0.01 * width))
    speckled: Levels = levels + DECIBEL * decibels * field / field.std()
    return speckled


DISTURBANCES = {
    "shadow": Disturbance((6, 12, 24), _shadow),
    "gain-down": Disturbance((-6, -12, -24), _gain),
    "gain-up": Disturbance((6, 12, 24), _gain),
    "attenuation": Disturbance((10, 20, 40), _attenuation),
    "depth": Disturbance((1.2, 1.5, 2.0), _deeper),
    "haze": Disturbance((0.2, 0.4, 0.7), _haze),
    "blur": Disturbance((0.004, 0.008, 0.016), _blur),
    "jpeg": Disturbance((40, 20, 8), _jpeg),
    "crop": Disturbance((0.1, 0.2, 0.35), _crop),
    "speckle": Disturbance((1, 2, 4), _speckle),
}


def disturb(levels: NDArray[np.uint8], kind: str, strength: float, seed: int) -> NDArray[np.uint8]:
    """Return a disturbed copy of a scan's grey levels (H, W), by a row of `DISTURBANCES`; a crop is smaller."""
    changed = DISTURBANCES[kind].apply(levels.astype(np.float64), strength, np.random.default_rng(seed))
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _image(levels: Levels) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))


FOREIGN = (Cause.OTHER_KIND, Cause.POOR_SCAN, Cause.UNLIKE_TRAINING)
"""Causes that are counted among disturbed scans."""


def measure_robustness(
    classifier: Classifier, dataset: Dataset, figures: dict[str, Any], rows: Sequence[dict[str, str]], images: int
) -> dict[str, Any] | None:
    """Answer again for some images of a collection under every disturbance; None for one label alone.

    Args:
        classifier: The bundle's.
        dataset: The files.
        figures: Of the collection, in ``results.json``; the AUC is of the last two of its labels that occur.
        rows: Of the collection, in ``answers.csv``.
        images: Number of images, evenly spaced.
    """
    names, classes = list(figures["labels"]), classifier.bundle.classes
    rows = [rows[i] for i in evenly_spaced(len(rows), images)]
    present = sorted({names.index(row["label"]) for row in rows})[-2:]
    if len(present) < 2:
        return None
    rows = [row for row in rows if names.index(row["label"]) in present]
    files = [row["file"] for row in rows]
    columns = collapse({name: tuple(own) for name, own in figures["labels"].items()}, classes)[0][:, present]
    worse = np.array([names.index(row["label"]) == present[1] for row in rows])
    groups = np.array([int(row["group"]) for row in rows])
    clean = np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows])
    before = second_of_two(clean @ columns)
    foreign_causes = {cause.value for cause in FOREIGN}
    noticed = np.array([bool(set(row["causes"].split("; ")) & foreign_causes) for row in rows])
    hows = [(kind, strength) for kind, own in DISTURBANCES.items() for strength in own.strengths]
    probabilities, foreign = _answer(classifier, dataset, files, hows)
    found = []
    for place, (kind, strength) in enumerate(hows):
        scores = second_of_two(probabilities[:, place] @ columns)
        found.append(
            {
                "kind": kind,
                "strength": strength,
                "auc": auc_by_group([(worse, scores)], groups),
                "change": paired_bootstrap(weighted_auc, worse, before, scores, groups),
                "noticed": wilson_by_group(foreign[:, place], groups),
            }
        )
    return {
        "pair": f"{names[present[1]]} against {names[present[0]]}",
        "images": len(files),
        "auc": auc_by_group([(worse, before)], groups),
        "noticed": wilson_by_group(noticed, groups),
        "disturbed": found,
    }


def seed_of(file: str) -> int:
    """Return the seed of a file's disturbances."""
    return int.from_bytes(hashlib.sha256(file.encode()).digest()[:4], "big")


def _answer(
    classifier: Classifier,
    dataset: Dataset,
    files: Sequence[str],
    hows: Sequence[tuple[str, float]],
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return probabilities (N, K, C) of N files under K disturbances, and whether they are foreign or poor (N, K)."""
    classes = classifier.bundle.classes
    kept: dict[str, list[tuple[list[float], bool]]] = {}

    def measure(pixels: NDArray[np.uint8]) -> tuple[list[float], bool]:  # the rest of a result is large
        result = classifier.classify(Image.fromarray(pixels))
        return [result.probabilities[name] for name in classes], bool(set(result.trust.causes) & set(FOREIGN))

    def answer(file: str) -> dict[str, str]:
        levels, seed = np.asarray(grey_levels(read_image(dataset.file(file)))), seed_of(file)
        kept[file] = [measure(disturb(levels, kind, strength, seed)) for kind, strength in hows]
        return {"file": file}

    answered = answer_all(answer, list(files), "answering", (0, 1))
    for done, _ in enumerate(answered, start=1):
        print(f"{done} of {len(files)} images", end="\r")
    probabilities = np.array([[values for values, _ in kept[file]] for file in files])
    return probabilities, np.array([[foreign for _, foreign in kept[file]] for file in files])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--external", action="append", required=True, metavar="NAME:PATH")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--images", type=int, default=300)
    asked = parser.parse_args()
    classifier = Classifier(asked.bundle)
    results = json.loads((asked.run / "results.json").read_text())
    with (asked.run / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    datasets = {own.name: own for own in (read_external(text, default_folder()) for text in asked.external)}
    for figures in results["collections"]:
        own = [row for row in rows if row["collection"] == figures["name"]]
        figures["robustness"] = measure_robustness(classifier, datasets[figures["name"]], figures, own, asked.images)
    (asked.run / "results.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
