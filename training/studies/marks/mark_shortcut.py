"""Whether a classifier takes burned-in marks for evidence: the same scans with and without marks drawn into them.

    python training/studies/marks/mark_shortcut.py DATA [--bundle BUNDLE] [--count 60] [--seed 0]

DATA holds BrEaST, BUS-BRA and BUS-UC, whose lesions' masks say where a sonographer would measure.  Of each set so many
scans in which `find_marks` finds nothing, one of a patient, are answered as they are and with each kind of mark:
calipers round the lesion, without and with dotted lines; calipers at another place; a label; and, to compare, as many
white pixels without a shape.  Printed are the share of labels that changed, at the bundle's own class shares and at
equal ones; and the mean change of each class's probability at equal shares, with its 95 % interval (10,000 resamples of
the scans).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime import Classifier, Result
from sonoforge.runtime.images.burned_in_marks import find_marks

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))
import planted_marks as plant

Draw = Callable[[Image.Image, plant.Box, np.random.Generator], object]


def elsewhere(scan: Image.Image, box: plant.Box, rng: np.random.Generator) -> object:
    """Draw calipers of the lesion's size at a random place."""
    width, height = box[2] - box[0], box[3] - box[1]
    left = int(rng.uniform(0, max(1, scan.width - width)))
    top = int(rng.uniform(0, max(1, scan.height - height)))
    return plant.calipers(scan, (left, top, left + width, top + height), rng, lines=False)


def scattered(scan: Image.Image, box: plant.Box, rng: np.random.Generator) -> object:
    """Whiten as many pixels as calipers round the lesion have, scattered over the scan: ink without a shape."""
    marked = scan.copy()
    plant.calipers(marked, box, rng, lines=False)
    count = int((np.asarray(marked) != np.asarray(scan)).sum())
    for x, y in zip(rng.integers(scan.width, size=count), rng.integers(scan.height, size=count), strict=True):
        scan.putpixel((int(x), int(y)), 230)
    return count


MARKS: dict[str, Draw] = {
    "calipers round the lesion": lambda scan, box, rng: plant.calipers(scan, box, rng, lines=False),
    "the same with dotted lines": lambda scan, box, rng: plant.calipers(scan, box, rng, lines=True),
    "calipers elsewhere": elsewhere,
    "a label": lambda scan, box, rng: plant.text(scan, "RT UOQ", rng),
    "as many white pixels, scattered": scattered,
}


def unmarked(folder: Path, count: int, rng: np.random.Generator) -> list[Path]:
    """Choose scans with a lesion and without marks, one of a patient: the file's name up to its view."""
    files = sorted(p for p in folder.rglob("*.jpg") if p.with_name(f"{p.stem}_mask.png").exists())
    chosen: dict[str, Path] = {}
    for index in rng.permutation(len(files)):
        file = files[index]
        patient = file.stem.split("-")[0]
        if patient not in chosen and not find_marks(Image.open(file)).marks:
            chosen[patient] = file
        if len(chosen) == count:
            break
    return list(chosen.values())


def lesion(file: Path) -> plant.Box:
    """The box of the lesion's mask."""
    mask = np.asarray(Image.open(file.with_name(f"{file.stem}_mask.png")).convert("L")) > 0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def equally_frequent(result: Result, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a result's probabilities (C,) if all classes were equally frequent."""
    weighed: NDArray[np.float64] = np.array(list(result.probabilities.values())) / shares
    return weighed / weighed.sum()


def interval(changes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, C): 95 % interval of the mean of (N, C), by resampling rows."""
    draws = rng.integers(len(changes), size=(10_000, len(changes)))
    bounds: NDArray[np.float64] = np.quantile(changes[draws].mean(axis=1), (0.025, 0.975), axis=0)
    return bounds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", default=None)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    classifier = Classifier(arguments.bundle)
    classes, shares = classifier.bundle.classes, np.array(list(classifier.clinic.prevalence.values()))
    for name in ("BrEaST", "BUS-BRA", "BUS-UC"):
        files = unmarked(arguments.data / name, arguments.count, np.random.default_rng(arguments.seed))
        pictures = [Image.open(file).convert("L") for file in files]
        before = [classifier.classify(picture) for picture in pictures]
        labels = ", ".join(f"{c} {sum(r.label == c for r in before)}" for c in classes)
        print(f"{name}: {len(files)} scans; labels as they are: {labels}")
        for kind, draw in MARKS.items():
            changed, shifts, moves = np.zeros(2, int), [], []
            for number, (file, picture, old) in enumerate(zip(files, pictures, before, strict=True)):
                marked = picture.copy()
                draw(marked, lesion(file), np.random.default_rng([arguments.seed, number]))
                new = classifier.classify(marked)
                one, other = equally_frequent(old, shares), equally_frequent(new, shares)
                changed += new.label != old.label, one.argmax() != other.argmax()
                moves += [f"{old.label} -> {new.label}"] * (new.label != old.label)
                shifts.append(other - one)
            rows = np.array(shifts)
            low, high = interval(rows, np.random.default_rng(0))
            means = "; ".join(
                f"{c} {m:+.3f} [{a:+.3f}, {b:+.3f}]"
                for c, m, a, b in zip(classes, rows.mean(axis=0), low, high, strict=True)
            )
            print(f"  {kind}: {changed} labels changed ({(changed / len(files)).round(3)}); {means}")
            print(f"    {', '.join(f'{move} {moves.count(move)}' for move in sorted(set(moves)))}")


if __name__ == "__main__":
    main()
