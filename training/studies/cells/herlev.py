"""Write Herlev as a folder of classes: single cells of Pap smears, in 4 classes made from 7 grades.

Jantzen, Norup, Dounias, Bjerregaard, "Pap-smear Benchmark Data For Pattern Classification", NiSIS 2005.  As published:
a folder for each grade with ``149143370-149143378-001.BMP`` and the segmentation ``149143370-149143378-001-d.bmp``.
The first two numbers identify the slide image. Cells are grouped by the first only, which several slide images share:
some of them overlap and show one cell twice.  Square copies in circulation, in folders of grades or of classes and with
the grade before the number, are read too. Those squares were padded with a constant colour, and a cut-out follows its
cell's shape, so the width of the padding reveals something about the class. The padding is therefore cropped, and the
rest cut to its central square.
"""

from __future__ import annotations

import argparse
import functools
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.collections.importing import Picture, PlannedPicture, write_set

CLASS_OF = {
    **dict.fromkeys(("normal_superficiel", "normal_intermediate", "normal_columnar"), "normal"),
    **dict.fromkeys(("light_dysplastic", "moderate_dysplastic"), "light_moderate_dysplastic"),
    "severe_dysplastic": "severe_dysplastic",
    "carcinoma_in_situ": "carcinoma_in_situ",
}
"""The class of each grade; Berezsky and Liashchynskyi use four classes from another cytology."""

EDGE = 2  # pixels beside the padding that were mixed with it when the square was resized
_FLAT = 20  # grey levels by which a pixel of padding may differ from its colour: JPEG changes some next to the cell
_MOST = 0.9  # share of a line's pixels that may not differ more

_NAME = re.compile(
    r"(?:(?P<grade>[a-z_]+)_)?(?P<slide_image>(?P<slide>\d+)-\d+)-\d+\.(?:bmp|jpg|jpeg|png)", re.IGNORECASE
)


def plan(folder: Path, longest: int) -> list[PlannedPicture]:
    """List the cells in the order of their files."""
    planned = []
    for path, parts in _cells(folder):
        grade = _grade(path, parts)
        stem = path.stem.removeprefix(f"{grade}_")
        read = functools.partial(_read, path, longest)
        columns = {"grade": grade, "slide_image": parts["slide_image"]}
        planned.append(PlannedPicture(f"{CLASS_OF[grade]}/{grade}-{stem}.png", parts["slide"], columns, read))
    return planned


def _cells(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    """Return the file of each cell, and the parts of its name."""
    found = ((path, _NAME.fullmatch(path.name)) for path in sorted(folder.rglob("*")))
    return [(path, parts) for path, parts in found if parts and _grade(path, parts) in CLASS_OF]


def _grade(path: Path, parts: re.Match[str]) -> str:
    return (parts["grade"] or path.parent.name).lower()


def _read(path: Path, longest: int) -> Picture:
    picture = read_image(path).convert("RGB")
    pixels = np.asarray(picture)
    if picture.width == picture.height:
        pixels = without_padding(pixels)
    square = middle_square(pixels)
    if len(square) > longest:
        square = np.asarray(Image.fromarray(square).resize((longest, longest), Image.Resampling.LANCZOS))
    return Picture(square)


def without_padding(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop flat bands of one colour from the two opposite sides of (H, W, 3) pixels where they are wider.

    At least a quarter of the lines stay.
    """
    rows, columns = _bands(pixels), _bands(pixels.transpose(1, 0, 2))
    if sum(rows) >= sum(columns):
        return pixels[rows[0] : len(pixels) - rows[1]]
    return pixels[:, columns[0] : pixels.shape[1] - columns[1]]


def _bands(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """Count the lines of padding before and after; none unless both sides have some."""
    counts = []
    for lines in (pixels, pixels[::-1]):
        away = np.abs(lines - np.median(lines[0], axis=0)).max(2)
        padding = np.percentile(away, 100 * _MOST, axis=1) <= _FLAT
        counts.append(len(padding) if padding.all() else int(np.argmin(padding)))
    most = len(pixels) * 3 // 8
    return (min(counts[0] + EDGE, most), min(counts[1] + EDGE, most)) if all(counts) else (0, 0)


def middle_square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut out the largest central square, which keeps no trace of the original shape."""
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def main() -> None:
    """Write the set; an interrupted one goes on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the set as published")
    parser.add_argument("out", type=Path, help="the new folder")
    parser.add_argument("--longest", type=int, default=1024, help="largest side in pixels")
    told = parser.parse_args()
    planned = plan(told.source, told.longest)
    if not planned:
        parser.error(f"{told.source}: has no cells such as carcinoma_in_situ/149143370-149143378-001.BMP")
    print(write_set(told.out, planned, {"set": "herlev", "longest": told.longest}, resume=told.out.exists())["images"])


if __name__ == "__main__":
    main()
