"""How many changed copies are found in a batch, and how many different scans are taken for one?

    python training/studies/image-quality/repeated_scans.py BUSI [--groups CSV]

Each scan is looked for among all scans of the set: itself, changed.  A pair is right where both are of one scan, or of
one group of near-duplicates in CSV (columns ``file``, ``group``; see ``sonoforge data audit``).
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.repeats import ALIKE, take_fingerprint

Picture = Image.Image


def jpeg(scan: Picture) -> Picture:
    """Save as JPEG of quality 50."""
    stream = io.BytesIO()
    scan.save(stream, "JPEG", quality=50)
    return Image.open(stream).convert("L")


def half(scan: Picture) -> Picture:
    """Half the size."""
    return scan.resize((scan.width // 2, scan.height // 2), Image.Resampling.BILINEAR)


def gain(scan: Picture, factor: float) -> Picture:
    """Times a factor, clipped at white."""
    return scan.point([min(255, round(level * factor)) for level in range(256)])


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "JPEG 50": jpeg,
    "half the size": half,
    "gain -20 %": lambda scan: gain(scan, 0.8),
    "gain +20 %": lambda scan: gain(scan, 1.2),
    "all of JPEG 50, half, gain +20 %": lambda scan: jpeg(half(gain(scan, 1.2))),
    "cropped by 2 % a side": lambda scan: scan.crop(_inset(scan, 0.02)),
    "cropped by 5 % a side": lambda scan: scan.crop(_inset(scan, 0.05)),
    "mirrored": lambda scan: scan.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def _inset(scan: Picture, share: float) -> tuple[int, int, int, int]:
    across, down = round(share * scan.width), round(share * scan.height)
    return across, down, scan.width - across, scan.height - down


def main() -> None:
    """Print one line for each change, and the pairs within the set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--groups", type=Path)
    options = parser.parse_args()
    files = sorted(file for kind in ("*.png", "*.jpg") for file in options.data.rglob(kind) if "_mask" not in file.name)
    own = {str(file.relative_to(options.data)): str(file) for file in files}
    if options.groups:
        with options.groups.open(newline="", encoding="utf-8") as stream:
            own |= {row["file"]: row["group"] for row in csv.DictReader(stream)}
    groups = np.array([own[str(file.relative_to(options.data))] for file in files])
    preprocessing = open_bundle(None).manifest.preprocessing

    def details(change: Callable[[Picture], Picture]) -> np.ndarray:
        scans = (change(Image.open(file).convert("L")) for file in files)
        return np.stack([take_fingerprint(grey_levels(scan), preprocessing.resize(scan)).detail for scan in scans])

    plain = details(lambda scan: scan)
    same = groups[:, None] == groups
    within = np.triu(plain @ plain.T, 1)
    told = within >= ALIKE
    print(
        f"{len(files)} scans; pairs told {told.sum()}, of one group {(told & same).sum()} of {np.triu(same, 1).sum()}"
    )
    print(f"most alike of two groups: {within[~same].max():.3f}")
    for name, change in CHANGES.items():
        found = details(change) @ plain.T
        best = found.argmax(axis=1)
        answered = found.max(axis=1) >= ALIKE
        right = answered & same[np.arange(len(files)), best]
        own_found = np.diagonal(found)
        precision = right.sum() / max(1, answered.sum())
        print(f"{name:34}  recall {right.mean():.3f}  precision {precision:.3f}  own, least {own_found.min():.3f}")


if __name__ == "__main__":
    main()
