"""Burned-in marks of the breast phantom: what a sonographer's clicks leave in the stored picture.

Marks are independent of the class: a normal picture gets calipers as well, around nothing.  They are a distraction
that a classifier has to ignore, never a shortcut.
"""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.phantom.tissue import FIELD_MM

# Glyphs of 3 by 5 pixels, row by row, one octal digit a row: own drawing, so that no font library is involved.
with Path(__file__).with_name("glyphs.csv").open(encoding="utf-8", newline="") as _file:
    GLYPHS = {row["character"]: row["rows"] for row in csv.DictReader(_file)}


def draw_text(pixels: NDArray[np.uint8], text: str, row: int, column: int, scale: int) -> None:
    """Burn text of `GLYPHS` into a picture (H, W) uint8, cut at its borders; a dot has ``scale`` pixels."""
    for place, character in enumerate(text):
        dots = np.array([[int(digit) >> bit & 1 for bit in (2, 1, 0)] for digit in GLYPHS[character]], np.bool_)
        dots = np.kron(dots, np.ones((scale, scale), np.bool_))
        left = column + 4 * scale * place
        target = pixels[row : row + dots.shape[0], left : left + dots.shape[1]]
        target[dots[: target.shape[0], : target.shape[1]]] = 230


def _cross(pixels: NDArray[np.uint8], row: int, column: int, reach: int) -> None:
    row = min(max(row, reach), pixels.shape[0] - 1 - reach)
    column = min(max(column, reach), pixels.shape[1] - 1 - reach)
    pixels[row, column - reach : column + reach + 1] = 245
    pixels[row - reach : row + reach + 1, column] = 245


def draw_calipers(pixels: NDArray[np.uint8], box: tuple[int, int, int, int]) -> None:
    """Burn in four caliper crosses, joined by dotted lines, around a box: first and last row, first and last column."""
    top, bottom, left, right = box
    row, column = (top + bottom) // 2, (left + right) // 2
    reach = max(1, pixels.shape[0] // 100)
    pixels[row, left:right:4] = 220
    pixels[top:bottom:4, column] = 220
    for at in ((top, column), (bottom, column), (row, left), (row, right)):
        _cross(pixels, *at, reach)


def draw_ruler(pixels: NDArray[np.uint8]) -> None:
    """Burn the depth scale into the right border: a tick every 5 mm, a longer one every 10 mm."""
    size = pixels.shape[0]
    for tick in range(1, int(FIELD_MM // 5)):
        length = max(1, size // (40 if tick % 2 == 0 else 80))
        pixels[int(tick * 5 * size / FIELD_MM), -1 - length : -1] = 200


def draw_marks(pixels: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Burn a random selection of marks into a picture; calipers go around the mask, or anywhere if it is empty."""
    size = pixels.shape[0]
    calipers, ruler, text = rng.random(3) < (0.5, 0.7, 0.6)
    # The positions and sizes of lesions.
    row, column, height, width = size / FIELD_MM * rng.uniform((9, 12, 5, 5), (24, 28, 15, 15))
    side, hour, corner = rng.integers(2), int(rng.integers(1, 13)), rng.integers(2)
    if calipers:
        box = (int(row - height / 2), int(row + height / 2), int(column - width / 2), int(column + width / 2))
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = (int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1]))
        draw_calipers(pixels, box)
    if ruler:
        draw_ruler(pixels)
    if text:
        scale = max(1, size // 170)
        label = f"{('RT', 'LT')[side]} BREAST {hour}:00"
        draw_text(pixels, label, size - 8 * scale if corner else 2 * scale, 3 * scale, scale)
