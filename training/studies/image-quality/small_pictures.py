"""How many labels change, and what is flagged, where scans are shrunk to fewer pixels than the network reads?

    python training/studies/image-quality/small_pictures.py DATA [--scans 100]

DATA holds the folders BUSI, BUS-BRA, BrEaST and BUS-UC.  Scans whose shorter side has 256 pixels at least are shrunk to
a shorter side of so many pixels; ``and up``: enlarged to their own size again.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from sonoforge.runtime import Classifier

SIDES = (224, 192, 171, 160, 128, 96, 64)


def shrunk(scan: Image.Image, side: int) -> Image.Image:
    """Shrink to a shorter side."""
    factor = side / min(scan.size)
    return scan.resize(
        (max(side, round(scan.width * factor)), max(side, round(scan.height * factor))), Image.Resampling.BILINEAR
    )


def main() -> None:
    """Print one line for each set and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scans", type=int, default=100)
    given = parser.parse_args()
    classifier = Classifier()
    least = classifier.bundle.manifest.quality["resolution"].low
    for number, name in enumerate(("BUSI", "BUS-BRA", "BrEaST", "BUS-UC")):
        found = (given.data / name).rglob("*")
        files = sorted(file for file in found if file.suffix in (".png", ".jpg") and "_mask" not in file.stem)
        sides = np.array([min(Image.open(file).size) for file in files])
        print(f"{name}: as they are, {(sides < least).sum()} of {len(files)} have a shorter side under {least:.1f}")
        large = [file for file, side in zip(files, sides, strict=True) if side >= SIDES[0]]
        rows = defaultdict(list)
        for file in random.Random(number).sample(large, given.scans):
            scan = Image.open(file).convert("L")
            label = classifier.classify(scan).label
            for side in SIDES:
                small = shrunk(scan, side)
                cases = {str(side): small, f"{side} and up": small.resize(scan.size, Image.Resampling.BICUBIC)}
                for title, picture in cases.items():
                    result = classifier.classify(picture)
                    flags = result.quality.flags
                    rows[title].append((result.label != label, "resolution_low" in flags, "sharpness_low" in flags))
        for title, row in rows.items():
            changed, few, blurred = np.mean(row, axis=0)
            print(f"  {title:10}  labels changed {changed:.2f}  resolution_low {few:.2f}  sharpness_low {blurred:.2f}")


if __name__ == "__main__":
    main()
