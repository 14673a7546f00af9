"""How many burned-in marks are found, how many are invented, and which classes of a data set carry them.

    python training/studies/marks/burned_in_marks.py DATA [--sheet sheet.png]

DATA holds the folders BUSI, BUS-BRA, BrEaST and BUS-UC.  First, marks are drawn into BrEaST's scans, which have none
(Pawlowska et al. removed them): calipers round the lesion, a label, a body mark, half of them packed as JPEG.  Second,
icons of several shapes, as high as a line of text or higher, are drawn into all scans of the four sets, every second
one shrunk to 256 pixels.  Third, every scan is searched as it is; what is found in BrEaST is invented.  ``--sheet``
draws 40 scans of BUS-BRA with what was found, to look at.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sonoforge.runtime.images.burned_in_marks import Marks, find_marks

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))
import planted_marks as plant

KINDS = ("caliper", "dotted line", "text", "body mark")
_INK = {"caliper": (255, 0, 0), "dotted line": (255, 255, 0), "text": (0, 255, 0), "body mark": (0, 160, 255)}


def scans(folder: Path) -> list[Path]:
    """The pictures of a data set, without its masks."""
    return sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".jpg") and "_mask" not in p.name)


def planted(files: list[Path]) -> None:
    """Print how many drawn marks are found."""
    crosses, hits, per_scan, labels, body_marks = 0, 0, 0, 0, 0
    for number, file in enumerate(files):
        rng = np.random.default_rng(number)
        picture = Image.open(file).convert("L")
        mask = np.asarray(Image.open(file.with_name(f"{file.stem}_mask.png")).convert("L")) > 0
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
        places = plant.calipers(picture, box, rng)
        words = str(rng.choice(["RT AXILLA", "LT 3:00", "L LOQ", "RT UOQ 2 CM FN"]))
        label, drawing = plant.text(picture, words, rng), plant.body_mark(picture, rng)
        if number % 2:
            picture = plant.as_jpeg(picture, int(rng.integers(80, 96)))
        found = find_marks(picture).marks
        centres = [((m.box[0] + m.box[2]) / 2, (m.box[1] + m.box[3]) / 2) for m in found if m.kind == "caliper"]
        own = sum(any(max(abs(x - at[0]), abs(y - at[1])) <= 3 for x, y in centres) for at in places)
        crosses, hits, per_scan = crosses + len(places), hits + own, per_scan + (own > 0)
        labels += any(m.kind == "text" and _inside(m.box, label) for m in found)
        body_marks += any(m.kind == "body mark" and _inside(m.box, drawing) for m in found)
    n = len(files)
    print(f"drawn into {n} scans: {hits} of {crosses} crosses ({hits / crosses:.3f}) found, at least one in")
    print(f"  {per_scan} scans ({per_scan / n:.3f}); labels {labels} ({labels / n:.3f}); body marks {body_marks}")


def icons(folder: Path) -> None:
    """Print what drawn body marks are called."""
    called: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for number, file in enumerate(scans(folder)):
        rng = np.random.default_rng(number)
        picture = Image.open(file).convert("L")
        if number % 2:
            picture.thumbnail((256, 256))
        low = number % 4 < 2
        box = plant.icon(
            picture, plant.ICONS[number % 6], int(rng.integers(18, 37) if low else rng.integers(37, 90)), rng
        )
        if rng.random() < 0.5:
            picture = plant.as_jpeg(picture, int(rng.integers(80, 96)))
        kinds = {mark.kind for mark in find_marks(picture).marks if _inside(mark.box, box)}
        word = "text" if "text" in kinds else "body mark" if "body mark" in kinds else "other"
        called["18 to 36 pixels high" if low else "37 to 89 pixels high"][word if kinds else "nothing"] += 1
    for height, words in sorted(called.items()):
        shares = ", ".join(f"{word} {count / words.total():.3f}" for word, count in words.most_common())
        print(f"{folder.name}: icons {height}, {words.total()}: called {shares}")


def _inside(found: plant.Box, true: plant.Box) -> bool:
    """Whether the middle of what was found lies in what was drawn."""
    x, y = (found[0] + found[2]) / 2, (found[1] + found[3]) / 2
    return true[0] <= x <= true[2] and true[1] <= y <= true[3]


def as_they_are(folder: Path) -> dict[Path, Marks]:
    """Print the share of scans with each kind, by class."""
    found, times = {}, []
    for file in scans(folder):
        picture = Image.open(file).convert("L")
        started = time.perf_counter()
        found[file] = find_marks(picture)
        times.append(1000 * (time.perf_counter() - started))
    classes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file, marks in found.items():
        classes[file.parent.name].update(["", *marks.counts])
    for name, counts in sorted(classes.items()):
        shares = ", ".join(f"{kind} {counts[kind]} ({counts[kind] / counts['']:.3f})" for kind in KINDS)
        print(f"{folder.name} {name}: {counts['']} scans; {shares}")
    print(f"  {np.median(times):.1f} ms at the median, 99 % within {np.quantile(times, 0.99):.1f} ms")
    return found


def draw_sheet(found: dict[Path, Marks], path: Path) -> None:
    """Draw 40 scans with what was found in them."""
    sheet = Image.new("RGB", (8 * 240, 5 * 200))
    for at, file in enumerate(random.Random(0).sample(sorted(found), 40)):
        picture = Image.open(file).convert("RGB")
        draw = ImageDraw.Draw(picture)
        for mark in found[file].marks:
            left, top, right, bottom = mark.box
            draw.rectangle((left - 3, top - 3, right + 2, bottom + 2), outline=_INK[mark.kind], width=2)
        sheet.paste(picture.resize((236, 196)), (at % 8 * 240, at // 8 * 200))
    sheet.save(path)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    planted([f for f in scans(arguments.data / "BrEaST") if f.parent.name != "normal"])
    for name in ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC"):
        icons(arguments.data / name)
    for name in ("BrEaST", "BUSI", "BUS-UC"):
        as_they_are(arguments.data / name)
    found = as_they_are(arguments.data / "BUS-BRA")
    if arguments.sheet:
        draw_sheet(found, arguments.sheet)


if __name__ == "__main__":
    main()
