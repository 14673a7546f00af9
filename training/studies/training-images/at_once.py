"""Which changed copies of its training images ``classify`` recognises, and the likeness of other pictures.

    python training/studies/training-images/at_once.py BUSI/ BUS-BRA/ BrEaST/ BUS-UC/ --count 60 --others MIAS/

Prints as JSON, by collection: of ``--count`` training images changed in each way, how many are recognised; and of all
images of the other folders, how many are, and the greatest likeness.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from sonoforge.runtime import open_bundle
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.inputs import expand
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.repeats import detail_of
from sonoforge.runtime.images.sketches import ALIKE
from sonoforge.runtime.inference.trust import read_references
from sonoforge.training.copies.pictures import Picture
from sonoforge.training.copies.planting import KINDS, Plant, plant


def crop_all_round(share: float) -> Plant:
    def crop(picture: Picture, _: np.random.Generator) -> Picture:
        down, across = (max(1, round(share * side)) for side in picture.shape)
        return np.ascontiguousarray(picture[down:-down, across:-across])

    return crop


CHANGES: dict[str, Plant] = {
    **{f"crop {100 * share:.0f} % all round": crop_all_round(share) for share in (0.01, 0.02, 0.03, 0.05)},
    "gain 1.4": lambda picture, _: np.clip(1.4 * picture, 0, 255).astype(np.uint8),
    **{kind: functools.partial(plant, kind) for kind in KINDS},
}


def likeness_of_shipped() -> Callable[[Picture], float]:
    """Return a function that measures a picture as the shipped bundle does."""
    bundle = open_bundle()
    known, preprocessing = read_references(bundle)[2], bundle.manifest.preprocessing
    assert known is not None
    return lambda picture: known.likeness(detail_of(grey_levels(preprocessing.resize(Image.fromarray(picture)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("collections", nargs="+", help="folders of training images")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--others", nargs="*", default=[], help="folders of images that it was not trained on")
    given = parser.parse_args()
    measure, found = likeness_of_shipped(), dict[str, dict[str, float]]()
    for folder in given.collections:
        files = expand([folder], True).files
        rng = np.random.default_rng(0)
        chosen = [grey_levels(read_image(files[i])) for i in rng.choice(len(files), given.count, replace=False)]
        found[Path(folder).name] = {
            kind: sum(measure(change(one, rng)) >= ALIKE for one in chosen) for kind, change in CHANGES.items()
        }
    for folder in given.others:
        all_of = np.array([measure(grey_levels(read_image(file))) for file in expand([folder], True).files])
        about = {"images": len(all_of), "recognised": int((all_of >= ALIKE).sum()), "most_alike": float(all_of.max())}
        found[Path(folder).name] = about
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
