"""Does the second search, too, find no copies of training images among a generator's drawings?

    python training/studies/near-duplicates/drawings.py RUN [--drawn BUNDLE] [--count 1000] [--planted 5]

Reads the training images of a run of `gan train`, lets its generator, or the bundle ``--drawn``, draw, and compares
each drawing, each real image that was held out, and planted copies of the training images with each training image.
Prints as JSON how many of each `sonoforge.training.copies.second_search` joins to a training image.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from sonoforge.runtime.inference.generator import Generator
from sonoforge.training.copies.generated import grey_pictures
from sonoforge.training.copies.planting import count_found, plant_copies
from sonoforge.training.copies.second_search import find_repeated
from sonoforge.training.gan.milestones import read_own_images
from sonoforge.training.run_options import EvaluationInput


def main() -> None:
    """Print what the search finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--drawn", type=Path, help="bundle whose generator draws, in place of the run's")
    parser.add_argument("--count", type=int, default=1000, help="drawings")
    parser.add_argument("--planted", type=int, default=5, help="planted copies of each kind")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sets = read_own_images(EvaluationInput(real=asked.run, count=asked.count, seed=asked.seed))
    drawn = sets.fake.pixels
    if asked.drawn is not None:
        counts = sets.trained.class_counts or {"": len(sets.trained)}
        numbers = [(name, round(asked.count * own / len(sets.trained))) for name, own in counts.items()]
        generator = Generator(asked.drawn)
        parts = [generator.generate(own, class_name=name) for name, own in numbers]
        drawn = np.concatenate(parts)[..., : generator.manifest.image_channels]
    training = grey_pictures(sets.trained.pixels)
    compared = {
        "drawings": grey_pictures(drawn),
        "held-out images": grey_pictures(sets.held_out.images.pixels) if sets.held_out else [],
        "planted copies": plant_copies(training, asked.planted, asked.seed),
    }
    pictures = [*training, *itertools.chain(*compared.values())]
    # Of two groups, so that no training images are compared with each other, and no others.
    with threadpool_limits(1, "blas"):
        found = find_repeated(pictures, np.repeat([0, 1], [len(training), len(pictures) - len(training)]))
    joined = np.zeros(len(pictures), bool)
    for match in found.matches:
        joined[[match.first, match.second]] = True
    ends = np.cumsum([len(training), *map(len, compared.values())])[:-1]
    hits = dict(zip(compared, np.split(joined, ends)[1:], strict=True))
    answer = {
        "training images": len(training),
        "correlation from which a pair is joined": round(found.threshold, 3),
        "joined": {name: f"{int(own.sum())} of {len(own)}" for name, own in hits.items()},
        "planted, by kind": {row["kind"]: row["found"] for row in count_found(hits["planted copies"])},
    }
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
