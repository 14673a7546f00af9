"""How often the copy test takes fresh real images for copies: on thirds of a set, by near-duplicate group.

    python training/studies/generated-quality/copy_test_false_alarms.py 64 [FOLDER]

Each split deals the near-duplicate groups into three parts: training, calibration and fresh images.  Prints the share
of fresh images that count as copies, calibrated on the held-out third and on the training images themselves.  Without
a folder, on 600 phantoms.  Two minutes on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.generated import (
    HELD_OUT,
    OTHER_GROUPS,
    SHAPES,
    copy_test,
    match_training,
    prepare_training,
)
from sonoforge.training.evaluation.image_set import resized
from sonoforge.training.gan.image_sets import read_real
from sonoforge.training.phantom.dataset import generate_phantom_set

SPLITS = 10


def read(side: int, folder: str | None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if folder is None:
        images = list(generate_phantom_set(600, seed=3, size=side))
        _, groups = np.unique([image.group for image in images], return_inverse=True)
        return np.stack([image.pixels for image in images])[..., None], groups
    found = resized(folder, read_real(folder, "", "", side, None), side, 1, "")
    return found.pixels, found.groups


def main() -> None:
    side, folder = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    images, groups = read(side, folder)
    print(
        f"{Path(folder).name if folder else 'phantoms'}, {len(images)} images in {groups.max() + 1} groups, {side} px"
    )
    whole = prepare_training(images)
    shares: dict[str, list[float]] = {HELD_OUT: [], OTHER_GROUPS: []}
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(groups.max() + 1)
        third = np.empty(len(order), np.int64)
        third[order] = np.arange(len(order)) % 3
        training, other, fresh = (np.flatnonzero(third[groups] == part) for part in range(3))
        wanted = whole.take((np.arange(len(SHAPES))[:, None] * len(images) + training).reshape(-1))
        score = match_training(whole.take(fresh), wanted).score
        held_out = match_training(whole.take(other), wanted).score
        themselves = match_training(whole.take(training), wanted, (groups[training], groups[training])).score
        calibrations = {HELD_OUT: (held_out, groups[other]), OTHER_GROUPS: (themselves, groups[training])}
        for name, (real, own) in calibrations.items():
            test = copy_test(score, real, own, name)
            shares[name].append(test["share"])
            print(
                f"split {seed}, {name}: threshold {test['threshold']:.1f}, level {test['false_alarm']:.3f}, "
                f"{test['copies']} of {test['images']}, p {test['p_value']:.3f}",
                flush=True,
            )
    for name, found in shares.items():
        print(f"calibrated on {name}: mean {np.mean(found):.2%}, worst {np.max(found):.2%}")


if __name__ == "__main__":
    main()
