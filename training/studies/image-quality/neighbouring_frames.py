"""How many frames of one sweep are joined, and how many pictures of different patients?

    python training/studies/image-quality/neighbouring_frames.py DATA

DATA holds the folders BUSI, BUS-BRA and BrEaST; patients and near-duplicates come from the kept answers
``other-scanners/answers/left-out.csv.gz``.  First, scans in the order of their names, each with the three before it.
Second, pictures of different patients, drawn at random but close in the order.  Third, windows of one scan, the second
moved by a share of the shorter side.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
from pathlib import Path

import numpy as np
from PIL import Image

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.repeats import (
    NEIGHBOURS_ALIKE,
    REACH,
    Fingerprint,
    can_be_followed,
    likeness,
    take_fingerprint,
)

ANSWERS = Path(__file__).parents[1] / "other-scanners" / "answers" / "left-out.csv.gz"
PREPROCESSING = open_bundle(None).manifest.preprocessing


def fingerprint(scan: Image.Image) -> Fingerprint:
    """Return what a picture is recognised by."""
    return take_fingerprint(grey_levels(scan), PREPROCESSING.resize(scan))


def joined(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether two pictures are taken for frames of one sweep."""
    return likeness(one, other) >= NEIGHBOURS_ALIKE and can_be_followed(one, other)


def natural(name: str) -> list[tuple[bool, int | str]]:
    """Return a key that sorts numbers by their value."""
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", name)]


def main() -> None:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    with gzip.open(ANSWERS, "rt", encoding="utf-8") as stream:
        groups = {row["file"]: row["group"] for row in csv.DictReader(stream)}
    rng = np.random.default_rng(0)
    for name in ("BUSI", "BUS-BRA", "BrEaST"):
        paths = {path.name: path for path in (given.data / name).rglob("*")}
        files = sorted((file for file in groups if file.startswith(f"{name}/")), key=natural)
        scans = [Image.open(paths[Path(file).name]).convert("L") for file in files]
        found, own = [fingerprint(scan) for scan in scans], [groups[file] for file in files]
        pairs = [(i, j) for j in range(len(files)) for i in range(max(0, j - REACH), j)]
        far = [(i, i + step) for i, step in rng.integers(1, (len(files), 60), (6000, 2)) if i + step < len(files)]
        for title, chosen in (("neighbours by name", pairs), ("drawn at random", far)):
            told = {pair: joined(found[pair[0]], found[pair[1]]) for pair in chosen}
            same = {pair: own[pair[0]] == own[pair[1]] for pair in chosen}
            for kind in (True, False):
                which = [pair for pair in told if same[pair] == kind]
                count = sum(told[pair] for pair in which)
                print(f"{name}: {title}, {'one group' if kind else 'two groups'}: {count} of {len(which)} joined")
        for share in (0.02, 0.05, 0.10):
            drawn = rng.permutation(len(scans))[:200]
            count = 0
            for scan in (scans[i] for i in drawn):
                size = int(0.85 * scan.width), int(0.85 * scan.height)
                way = share * min(scan.size) * np.array([np.cos(angle := rng.uniform(0, np.pi / 2)), np.sin(angle)])
                boxes = [(int(x), int(y), int(x) + size[0], int(y) + size[1]) for x, y in ((0, 0), way)]
                count += joined(*(fingerprint(scan.crop(box)) for box in boxes))
            print(f"{name}: moved by {share:.0%}: {count} of {len(drawn)} joined")


if __name__ == "__main__":
    main()
