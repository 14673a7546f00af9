"""How exactly is movement between frames found, and from which movement on are frames smeared?

    python training/studies/image-quality/clip_motion.py BUSI [--scans 200]

First table: a clip is cut out of each scan by a window that moves sideways; how many pairs are followed, and how far
the figure is from the truth.  Second table: each scan is averaged over a sideways movement, as a frame is that the
machine gathers while the probe moves; how many labels change, and how many scans fall below the training scans'
sharpness.
"""

from __future__ import annotations

import argparse
import itertools
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime import Classifier
from sonoforge.runtime.images.frame_motion import Motion, MotionMeter

PLANTED = (0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
SMEARS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)


def motion_of(*frames: NDArray[np.uint8]) -> Motion:
    """Measure a clip."""
    meter = MotionMeter()
    for frame in frames:
        meter.add(Image.fromarray(frame))
    return meter.motion()


def shifted_windows(scan: NDArray[np.uint8], share: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float]:
    """Cut two windows that lie so many per cent of the shorter side apart; the last value is what was possible."""
    shift = round(share / 100 * min(scan.shape))
    before, after = scan[:, : scan.shape[1] - shift], scan[:, shift:]
    return before, after, 100 * shift / min(before.shape)


def smeared(scan: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Average over a sideways movement of so many per cent of the shorter side."""
    length = share / 100 * min(scan.shape)
    wide = np.pad(scan.astype(np.float64), ((0, 0), (1 + int(np.ceil(length)), int(np.ceil(length)))), mode="edge")
    sums = np.concatenate([np.zeros((len(scan), 1)), wide.cumsum(axis=1)], axis=1)
    if length <= 1:
        return scan
    places = np.arange(scan.shape[1]) + 1 + np.ceil(length) + 0.5

    def until(at: NDArray[np.float64]) -> NDArray[np.float64]:
        whole = np.floor(at).astype(int)
        part = at - whole
        between: NDArray[np.float64] = sums[:, whole] * (1 - part) + sums[:, whole + 1] * part
        return between

    mean = (until(places + length / 2) - until(places - length / 2)) / length
    return np.rint(mean).clip(0, 255).astype(np.uint8)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scans", type=int, default=200)
    options = parser.parse_args()
    files = sorted(file for file in options.data.rglob("*.png") if "_mask" not in file.name)
    chosen = random.Random(0).sample(files, min(options.scans, len(files)))
    scans = [np.asarray(Image.open(file).convert("L")) for file in chosen]
    print("planted  followed  found   largest error, in % of the shorter side")
    for share in PLANTED:
        pairs = [shifted_windows(scan, share) for scan in scans]
        found = [(motion_of(before, after).per_frame, truth) for before, after, truth in pairs]
        known = [(value, truth) for value, truth in found if value is not None]
        errors = [abs(value - truth) for value, truth in known]
        middle = f"{np.median([value for value, _ in known]):.2f}  {max(errors):.2f}" if known else "-"
        print(f"{np.median([truth for *_, truth in pairs]):7.2f}  {len(known) / len(scans):8.2f}  {middle}")
    unrelated = [motion_of(one, np.asarray(Image.fromarray(other).resize(one.shape[::-1])))
                 for one, other in itertools.pairwise(scans)]  # fmt: skip
    print(f"two different scans: followed {sum(motion.followed for motion in unrelated)} of {len(unrelated)}")
    classifier = Classifier()
    labels: list[str] = []
    print("smear  labels changed  sharpness flagged")
    for share in SMEARS:
        answers = [classifier.classify(smeared(scan, share)) for scan in scans]
        labels = labels or [answer.label for answer in answers]
        changed = np.mean([answer.label != label for answer, label in zip(answers, labels, strict=True)])
        blurred = np.mean(["sharpness_low" in answer.quality.flags for answer in answers])
        print(f"{share:5.1f}  {changed:14.3f}  {blurred:17.3f}", flush=True)


if __name__ == "__main__":
    main()
