"""How many coloured marks, colour overlays and pictures of two scans are found, and how many are invented.

    python training/studies/marks/scan_kinds.py DATA

DATA holds the folders BUSI, BUS-BRA, BrEaST and BUS-UC.  Into each scan two marks of one of six colours and five shapes
are drawn, then flow in a colour box; then it is put beside another, with a gap or none; half are packed as JPEG.  Every
scan is searched as it is, too, packed as a colour JPEG: what is found there is counted as invented, though some of
BUSI's scans do have colour.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.images.burned_in_marks import find_coloured_ink
from sonoforge.runtime.images.scan_checks import meets_in_a_seam

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))
import planted_marks as plant


def measure(files: list[Path], few: int) -> None:
    """Print the shares that are found of one collection."""
    shrink = open_bundle().manifest.preprocessing.shrink
    rng = np.random.default_rng(0)
    chosen = [files[i] for i in rng.permutation(len(files))[: few or None]]
    counts = dict.fromkeys(("marks", "marks invented", "overlay", "overlay invented", "two", "two invented"), 0)
    names, times = sorted(plant.COLOURS), []
    for file in chosen:
        scan = Image.open(file).convert("RGB")
        packed = plant.as_jpeg(scan, 90)
        started = time.perf_counter()
        found = find_coloured_ink(packed)
        times.append(1000 * (time.perf_counter() - started))
        counts["marks invented"] += bool(found.marks)
        counts["overlay invented"] += found.overlay
        counts["two invented"] += meets_in_a_seam(grey(shrink(scan)))
        marked, draw = scan.copy(), None
        ink, shape = plant.COLOURS[names[rng.integers(6)]], plant.SHAPES[rng.integers(5)]
        draw = ImageDraw.Draw(marked)
        for _ in range(2):
            at = int(rng.uniform(0.1, 0.9) * scan.width), int(rng.uniform(0.1, 0.9) * scan.height)
            plant.coloured_mark(draw, at, int(rng.integers(4, 9)), int(rng.integers(1, 3)), ink, shape)
        counts["marks"] += bool(find_coloured_ink(half_packed(marked, rng)).marks)
        counts["overlay"] += find_coloured_ink(half_packed(plant.flow(scan, rng), rng)).overlay
        other = Image.open(files[rng.integers(len(files))]).convert("RGB")
        both = plant.side_by_side(
            scan, other.crop((0, 0, *other.size)), int(rng.integers(0, 12)) * (rng.random() < 0.7)
        )
        counts["two"] += meets_in_a_seam(grey(shrink(half_packed(both, rng))))
    shares = ", ".join(f"{name} {count / len(chosen):.4f}" for name, count in counts.items())
    print(f"{len(chosen)} scans: {shares}; colour {np.median(times):.1f} ms at the median")


def grey(view: np.ndarray) -> np.ndarray:
    """Return the grey levels (S, S) of a view."""
    return view if view.ndim == 2 else np.asarray(Image.fromarray(view).convert("L"))


def half_packed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Pack half of the pictures as JPEG."""
    return plant.as_jpeg(picture, int(rng.integers(80, 96))) if rng.random() < 0.5 else picture


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--few", type=int, default=0, help="so many scans of each collection (0: all)")
    arguments = parser.parse_args()
    for name in ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC"):
        files = sorted(p for p in (arguments.data / name).rglob("*") if p.suffix in (".png", ".jpg"))
        print(name, end=": ", flush=True)
        measure([p for p in files if "_mask" not in p.name], arguments.few)


if __name__ == "__main__":
    main()
