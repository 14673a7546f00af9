"""Pictures of one sweep in a folder: frames that follow one another and show nearly the same tissue, a little moved.

Two pictures are neighbouring frames where most tiles of one are found in the other, see `frame_motion.shift_between`,
and their details are alike once one is moved over the other, see `repeats.take_fingerprint`: labels and rulers, which
stand in the same place on scans of different patients, pass the first alone.  ``runtime/docs/quality.md`` has how many
neighbours are joined, and how many pictures of different patients.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from sonoforge.runtime.images.repeats import SIDE, Fingerprint

REACH = 3
"""Earlier pictures that each is compared with: a frame with calipers often stands between two without."""
ALIKE = 0.35
_MOST_MOVED = 3  # cells of `repeats.SIDE`, in each direction


class Sweeps:
    """Compares each picture with those just before it."""

    def __init__(self) -> None:
        self._last: deque[tuple[str, Fingerprint]] = deque(maxlen=REACH)  # with the first file of the sweep of each

    def find(self, file: str, own: Fingerprint) -> str:
        """Return the first file of the sweep that a picture goes on with, or ``file``; and remember it."""
        places = _Places(own)
        alike = ((places.likeness(earlier), first, earlier) for first, earlier in self._last)
        ranked = sorted((row for row in alike if row[0] >= ALIKE), key=lambda row: -row[0])
        found = next((first for _, first, earlier in ranked if can_be_followed(earlier, own)), file)
        self._last.append((found, own))
        return found


def likeness(before: Fingerprint, after: Fingerprint) -> float:
    """Correlation of two pictures' details where one is moved over the other to fit best, 0..1."""
    return _Places(after).likeness(before)


class _Places:
    """The windows of a picture's detail, in which earlier ones are looked for."""

    def __init__(self, own: Fingerprint) -> None:
        self._windows = sliding_window_view(own.detail.reshape(SIDE, SIDE), (SIDE - 2 * _MOST_MOVED,) * 2)
        self._squares = np.square(self._windows).sum(axis=(2, 3))

    def likeness(self, before: Fingerprint) -> float:
        """See `likeness`."""
        centre = before.detail.reshape(SIDE, SIDE)[_MOST_MOVED:-_MOST_MOVED, _MOST_MOVED:-_MOST_MOVED]
        lengths = np.sqrt(self._squares * np.square(centre).sum())
        products = np.einsum("ijkl,kl->ij", self._windows, centre)
        return float(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0).max(initial=0))


def can_be_followed(before: Fingerprint, after: Fingerprint) -> bool:
    """Whether most tiles of one picture are found in the other."""
    from sonoforge.runtime.images.frame_motion import SIDE as FRAME  # noqa: PLC0415 - for what is alike only
    from sonoforge.runtime.images.frame_motion import shift_between  # noqa: PLC0415

    if before.view is None or after.view is None:
        return False
    frames = (
        Image.fromarray(view).resize((FRAME, FRAME), Image.Resampling.BILINEAR) for view in (before.view, after.view)
    )
    return shift_between(*map(np.asarray, frames)) is not None
