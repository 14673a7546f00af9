"""Copy a collection with the marks burned into its scans painted over, to train and test on.

    python training/studies/marks/inpainted_marks.py SOURCE TARGET

Within the boxes of `find_marks`, ink is what a white top-hat of 7 x 7 pixels lifts by 25 levels; grown by a pixel, it
is filled by Telea's method (An image inpainting technique based on the fast marching method, J. Graphics Tools 2004)
from 5 pixels around.  All other files are copied as they are.  Printed is how many scans were changed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.burned_in_marks import find_marks

KERNEL = np.ones((7, 7), np.uint8)


def without_marks(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return a picture (H, W, 3) without its marks; None where none is found."""
    marks = find_marks(pixels).marks
    if not marks:
        return None
    lifted = cv2.morphologyEx(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.MORPH_TOPHAT, KERNEL) > 25
    inside = np.zeros_like(lifted)
    for mark in marks:
        left, top, right, bottom = mark.box
        inside[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = True
    ink = cv2.dilate((lifted & inside).astype(np.uint8), np.ones((3, 3), np.uint8))
    return cv2.inpaint(pixels, ink, 5, cv2.INPAINT_TELEA)


def main() -> None:
    """Copy every file, painted over where it is a scan with marks."""
    source, target = map(Path, sys.argv[1:3])
    scans = changed = 0
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        filled = None
        if path.suffix in (".png", ".jpg") and "_mask" not in path.stem:
            scans += 1
            filled = without_marks(np.asarray(Image.open(path).convert("RGB")))
        if filled is None:
            shutil.copy(path, copy)
        else:
            changed += 1
            Image.fromarray(filled).save(copy, **({"quality": 98, "subsampling": 0} if path.suffix == ".jpg" else {}))
    print(f"{source.name}: {changed} of {scans} scans had marks and were painted over")


if __name__ == "__main__":
    main()
