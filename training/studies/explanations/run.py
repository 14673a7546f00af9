"""Does the class-activation map show what the network looks at, and is that the lesion?

    python training/studies/explanations/run.py FOLDER [BUNDLE]

FOLDER holds images, each with the mask of its lesion beside it (``NAME_mask.png``; of several, their union).  Only
images that are answered with a class that has lesions count: the map is that of the answer.  Prints, each as the mean
over images with a 95 % bootstrap interval over images:

* inside: the share of the map's positive mass inside the mask, beside three controls that know nothing of the image:
  its area (chance), a Gaussian in the centre (standard deviation a fifth of each side), and the map of another image,
  which has the same sharpness and the same liking for the centre;
* hit: how often the strongest place is in the mask, with the same controls;
* drop: how far logit and probability of the answer fall when a tenth of the area is painted in the image's mean colour:
  the map's brightest tenth, that region moved to a random place, that of another image, and the dimmest tenth.

Two minutes for 600 images on one core.  Asserts nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime import Classifier, ImageError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.inference.activation_map import BRIGHTEST, at_size

WITHOUT_LESION = "normal"
SPREAD = 0.2  # of the sides, ours
DRAWS = 2000


def pairs(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield each image with its masks."""
    masks: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*_mask*.png")):
        masks.setdefault(path.with_name(path.stem.rpartition("_mask")[0]), []).append(path)
    for stem, found in masks.items():
        image = next(path for suffix in (".png", ".jpg") if (path := stem.with_name(stem.name + suffix)).exists())
        yield image, found


def lesion(paths: list[Path], side: int) -> NDArray[np.bool_]:
    """(S, S): the union of masks, squeezed to the network's square."""
    union = np.zeros((side, side), bool)
    for path in paths:
        with Image.open(path) as mask:
            union |= np.asarray(mask.convert("L").resize((side, side), Image.Resampling.BOX)) >= 128
    return union


def interval(values: NDArray[np.float64]) -> str:
    """Mean and 95 % bootstrap interval as text."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(DRAWS)]
    low, high = np.percentile(means, (2.5, 97.5))
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    classifier = Classifier(sys.argv[2] if len(sys.argv) > 2 else None)
    side, classes = classifier.bundle.manifest.preprocessing.size, classifier.bundle.classes
    rng = np.random.default_rng(0)
    kept, maps, masks, labels = [], [], [], []
    total = 0
    for image, found in pairs(Path(sys.argv[1])):
        mask = lesion(found, side)
        try:
            pixels = classifier.bundle.manifest.preprocessing.resize(read_image(image))
        except ImageError:
            continue
        if not mask.any():
            continue
        total += 1
        answer = classifier.predict(pixels[None])
        label = int(answer["probabilities"][0].argmax())
        values = at_size(answer["cam"][0, label], side, side)
        if classes[label] != WITHOUT_LESION and values.max() > 0:
            kept.append(pixels)
            maps.append(values)
            masks.append(mask)
            labels.append(label)
    other = (np.arange(len(kept)) + len(kept) // 2) % len(kept)  # in order of classes: mostly one of another
    axis = ((np.arange(side) + 0.5) / side - 0.5) / SPREAD
    gaussian = np.exp(-(axis[:, None] ** 2 + axis**2) / 2)

    def inside(values: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
        positive = np.maximum(values, 0)
        return float(positive[mask].sum() / positive.sum())

    def hit(values: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
        return float(mask.ravel()[values.argmax()])

    print(f"{len(kept)} of {total} images with a lesion are answered with a class that has one")
    area = np.array([mask.mean() for mask in masks])
    for name, measure in (("inside", inside), ("hit", hit)):
        for control, given in (
            ("map", maps),
            ("another image's map", [maps[at] for at in other]),
            ("Gaussian in the centre", [gaussian] * len(maps)),
        ):
            print(
                f"{name:8}{control:28}{interval(np.array([measure(*pair) for pair in zip(given, masks, strict=True)]))}"
            )
        print(f"{name:8}{'chance (area)':28}{interval(area)}")

    drops: dict[str, list[tuple[float, float]]] = {}
    count = round(BRIGHTEST * side * side)
    for at, pixels in enumerate(kept):
        brightest = _top(maps[at], count)
        regions = {
            "brightest tenth": brightest,
            "the same region elsewhere": np.roll(brightest, tuple(rng.integers(side // 4, 3 * side // 4, 2)), (0, 1)),
            "another image's brightest": _top(maps[other[at]], count),
            "dimmest tenth": _top(-maps[at], count),
        }
        mean = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
        batch = [pixels, *(np.where(region[..., None], mean, pixels) for region in regions.values())]
        answer = classifier.predict(np.stack(batch))
        logit, probability = answer["logits"][:, labels[at]], answer["probabilities"][:, labels[at]]
        for position, name in enumerate(regions, 1):
            drops.setdefault(name, []).append((logit[0] - logit[position], probability[0] - probability[position]))
    for name, values in drops.items():
        logits, probabilities = np.array(values, np.float64).T
        print(f"{'drop':8}{name:28}logit {interval(logits)}, probability {interval(probabilities)}")


def _top(values: NDArray[np.floating], count: int) -> NDArray[np.bool_]:
    """(S, S): the strongest pixels; of equal ones, those first in reading order."""
    region = np.zeros(values.size, bool)
    region[np.argsort(-values.ravel(), kind="stable")[:count]] = True
    return region.reshape(values.shape)


if __name__ == "__main__":
    main()
