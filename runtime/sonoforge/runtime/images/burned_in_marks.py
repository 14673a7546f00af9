"""Find what was burned into a scan: calipers, text, body marks.

Sonographers measure, label and mark scans before they store them.  A network that was trained on such scans can learn
the marks instead of the tissue: lesions are measured, normal breasts are not.

`coloured_ink` finds what is drawn in colour, `calipers` white crosses, and `lettering` all else.
``runtime/docs/burned-in-marks.md`` has how many are found and missed.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.calipers import find_crosses
from sonoforge.runtime.images.coloured_ink import find_coloured_ink
from sonoforge.runtime.images.lettering import Kind, find_lettering, sharp_steps
from sonoforge.runtime.images.plain_image import grey_levels

SENTENCE = "Burned-in marks can be a shortcut: the answer may come from them and not from the tissue."

# The longest side that is searched; larger pictures are first averaged by a whole factor, which bounds the time.
_LONGEST = 1024
# A picture with a larger share of sharp steps is grain without any blur, in which ink cannot be recognised.  In 250
# scans each of BUSI, BUS-BRA and BrEaST the largest share is 0.017.
_MOST_STEPS = 0.04
_PLURAL: dict[Kind, str] = {
    "caliper": "calipers",
    "dotted line": "dotted lines",
    "text": "text",
    "body mark": "body marks",
    "drawing": "drawings",
}
_Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Mark:
    """One mark: its kind, and left, top, right and bottom in the picture's pixels, the last two exclusive."""

    kind: Kind
    box: _Box


@dataclass(frozen=True)
class Marks:
    """The marks of one picture."""

    marks: tuple[Mark, ...]  # coloured ones first, then calipers
    overlay: bool = False  # whether the colours of Doppler or elastography lie over the scan

    @property
    def counts(self) -> dict[Kind, int]:
        """How many there are of each kind that was found."""
        found = Counter(mark.kind for mark in self.marks)
        return {kind: found[kind] for kind in _PLURAL if found[kind]}

    @property
    def summary(self) -> str:
        """The marks in words, such as ``2 calipers, text``; empty for none."""
        return ", ".join(
            kind if kind == "text" else f"{count} {kind if count == 1 else _PLURAL[kind]}"
            for kind, count in self.counts.items()
        )

    def to_dict(self) -> dict[str, object]:
        """Return ``{"summary", "counts", "note"}``, ready for JSON; the note is empty without marks."""
        return {"summary": self.summary, "counts": dict(self.counts), "note": SENTENCE if self.marks else ""}


def find_marks(
    image: Image.Image | NDArray[np.uint8],
    box: tuple[int, int, int, int] | None = None,
    levels: NDArray[np.uint8] | None = None,
) -> Marks:
    """Find calipers, dotted lines, text, body marks and other drawings.

    Examples:
        >>> import numpy as np
        >>> scan = np.full((300, 400), 90, np.uint8)
        >>> scan[100, 140:155] = scan[93:108, 147] = 230
        >>> find_marks(scan).summary
        '1 caliper'

    Nothing is found in a picture that is all grain, noise without any blur.

    Args:
        image: A Pillow image, or an array (H, W) of grey or (H, W, 3) of red, green and blue, uint8.
        box: Where to search, such as `scan_area.ScanArea.box`; None for the whole picture.
        levels: Grey levels (H, W) of the whole picture, if they are known already.
    """
    whole = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    left, top, right, bottom = box or (0, 0, *whole.size)
    searched = whole if box is None else whole.crop(box)
    factor = max(1, math.ceil(max(searched.size) / _LONGEST))
    levels = (grey_levels(whole) if levels is None else levels)[top:bottom, left:right]
    if factor > 1:
        searched, levels = searched.reduce(factor), np.asarray(Image.fromarray(levels).reduce(factor))
    if min(searched.size) < 2:
        return Marks(())
    ink = find_coloured_ink(searched)
    found = ink.marks + [
        (kind, own)
        for kind, own in _grey_marks(np.ascontiguousarray(levels))
        if not any(_overlaps(own, coloured) for _, coloured in ink.marks)
    ]

    def on_picture(own: _Box) -> _Box:
        x0, y0, x1, y1 = (edge * factor for edge in own)
        return max(left + x0, left), max(top + y0, top), min(left + x1, right), min(top + y1, bottom)

    return Marks(tuple(Mark(kind, on_picture(own)) for kind, own in found), ink.overlay)


def _grey_marks(levels: NDArray[np.uint8]) -> list[tuple[Kind, _Box]]:
    """Find the drawings in a picture (H, W) of grey levels, by kind and box."""
    steps = sharp_steps(levels)
    if len(steps.rows) > _MOST_STEPS * levels.size:
        return []
    crosses = [cross.box for cross in find_crosses(levels)]
    written = find_lettering(levels, steps, crosses)
    texts = [box for kind, box in written if kind == "text"]
    found: list[tuple[Kind, _Box]] = [
        ("caliper", own) for own in crosses if not any(_overlaps(own, text) for text in texts)
    ]
    return found + sorted(written)


def _overlaps(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
