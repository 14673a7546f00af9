"""Find pictures in a batch that show the same: given twice, or neighbouring frames of one sweep.

A picture is given twice if its pixels are the same, or if its detail correlates. Detail is its 32 x 32 view minus the
mean of the nine cells around each; changes of gain, size or compression hardly move it.  Frames are neighbours if they
follow one another, if most tiles of one are found in the other (`frame_motion.shift_between`), and if their details are
alike once aligned.  ``runtime/docs/quality.md`` gives precision and recall for both.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.sketches import SIDE, waves

ALIKE = 0.8
"""Correlation of details above which two pictures seem to be one.  Of 2 million pairs of different scans of BUSI,
BUS-BRA and BrEaST the most alike reach 0.57; a scan of BUSI and its changed copy reach at least 0.96."""

NOT_REPEATED: dict[str, str | None] = {"copy_of": None, "seems_copy_of": None}
"""What `Repeats.find` returns for a picture unlike all others."""

_MOST = 10_000  # earlier pictures compared with: 47 MB
# Pictures are compared in full only if their rows' lowest frequencies leave it possible that they are alike: one pair
# in two thousand of 728 scans of BUSI, BUS-BRA and BrEaST.
_LOWEST = 5
_WAVES = np.ascontiguousarray(waves(SIDE)[:, :_LOWEST])
_ROUNDING = 1e-4
_FEW = 500  # details copied to be compared: 2 MB
_WITH_BORDER = np.clip(np.arange(-1, SIDE + 1), 0, SIDE - 1)  # the cells of a line, its ends repeated once
_LEAST_SPREAD = 0.5  # of the detail, in grey levels: an empty picture is like every other

REACH = 3
"""How many earlier pictures a frame is compared with: one with calipers often stands between two without."""
NEIGHBOURS_ALIKE = 0.35
"""Correlation of details above which two pictures may be neighbouring frames."""
_MOST_MOVED = 3  # cells, in each direction


class Fingerprint(NamedTuple):
    """What identifies a picture."""

    digest: bytes  # SHA-256 of its size and grey levels
    detail: NDArray[np.float32]  # (1024,) float32 of length 1; all 0 for a picture without any
    view: NDArray[np.uint8] | None  # (S, S) grey levels that the network sees; None for a picture of another kind


def take_fingerprint(
    levels: NDArray[np.uint8], view: NDArray[np.uint8] | None, detail: NDArray[np.float32] | None = None
) -> Fingerprint:
    """Return what identifies a picture: its levels (H, W) and the network's view of it, (S, S, 3) or (S, S).

    Without a ``view`` only its pixels identify it, as for pictures of another kind than `ALIKE` was measured on.
    ``detail`` is the view's if it is known already.
    """
    digest = hashlib.sha256(f"({levels.shape[1]}, {levels.shape[0]})".encode())
    digest.update(np.ascontiguousarray(levels).data)
    if view is None:
        return Fingerprint(digest.digest(), np.zeros(SIDE**2, np.float32), None)
    seen = grey_levels(view)
    return Fingerprint(digest.digest(), detail_of(seen) if detail is None else detail, seen)


def detail_of(seen: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the detail (1024,) of what the network sees in grey levels, (S, S)."""
    cells = np.asarray(Image.fromarray(seen).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    wide = cells[_WITH_BORDER[:, None], _WITH_BORDER]
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    detail = cells - (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    detail = (detail - detail.mean()).ravel()
    length = float(np.linalg.norm(detail))
    return np.asarray(detail / length if length >= _LEAST_SPREAD * SIDE else np.zeros_like(detail), np.float32)


def in_words(entry: Mapping[str, object]) -> list[str]:
    """Describe the result of `Repeats.find` in a file's entry in one phrase, or none."""
    if entry["copy_of"]:
        return [f"the same picture as {entry['copy_of']}"]
    return [f"seems to be the same picture as {entry['seems_copy_of']}"] if entry["seems_copy_of"] else []


class Repeats:
    """Compares each picture with the ten thousand before it."""

    def __init__(self) -> None:
        self._files = [""] * _MOST
        self._seen = 0
        self._first: dict[bytes, str] = {}
        # Pages of memory are allocated as they are written.
        self._details = np.empty((_MOST, SIDE**2), np.float32)
        self._sketches = np.empty((_MOST, SIDE * _LOWEST), np.float32)  # the lowest frequencies of each
        self._rest = np.empty(_MOST, np.float32)  # length of the remainder of each

    def find(self, file: str, own: Fingerprint) -> dict[str, str | None]:
        """Look for a picture among the earlier ones, and remember it.

        Return ``copy_of``, the first file with the same pixels, or else ``seems_copy_of``, the file most like it, see
        `ALIKE`.
        """
        first = self._first.setdefault(own.digest, file)
        if first != file:
            return {"copy_of": first, "seems_copy_of": None}
        sketch = (own.detail.reshape(SIDE, SIDE) @ _WAVES).ravel()
        rest = math.sqrt(max(0.0, float(own.detail @ own.detail - sketch @ sketch)))
        alike, count = None, min(self._seen, _MOST)
        # An upper bound of the correlations, by Cauchy and Schwarz.
        most = self._sketches[:count] @ sketch + rest * self._rest[:count]
        near = np.flatnonzero(most >= ALIKE - _ROUNDING)
        if len(near):
            # Noise has no lowest frequencies, so all are compared, without a copy.
            some = near if len(near) <= _FEW else slice(count)
            correlations = self._details[some] @ own.detail
            best = int(correlations.argmax())
            if correlations[best] >= ALIKE:
                alike = self._files[np.arange(count)[some][best]]
        place = self._seen % _MOST  # of the oldest, if there is one
        self._files[place], self._details[place] = file, own.detail
        self._sketches[place], self._rest[place] = sketch, rest
        self._seen += 1
        return {"copy_of": None, "seems_copy_of": alike}


class Sweeps:
    """Compares each picture with those just before it."""

    def __init__(self) -> None:
        self._last: deque[tuple[str, Fingerprint]] = deque(maxlen=REACH)  # with the first file of each one's sweep

    def find(self, file: str, own: Fingerprint) -> str:
        """Return the first file of the sweep that a picture continues, or ``file``; remember the picture."""
        alike = ((likeness(earlier, own), first, earlier) for first, earlier in self._last)
        ranked = sorted((row for row in alike if row[0] >= NEIGHBOURS_ALIKE), key=lambda row: -row[0])
        found = next((first for _, first, earlier in ranked if can_be_followed(earlier, own)), file)
        self._last.append((found, own))
        return found


def likeness(before: Fingerprint, after: Fingerprint) -> float:
    """Return the correlation, 0..1, of two pictures' details at the best alignment."""
    windows = sliding_window_view(after.detail.reshape(SIDE, SIDE), (SIDE - 2 * _MOST_MOVED,) * 2)
    centre = before.detail.reshape(SIDE, SIDE)[_MOST_MOVED:-_MOST_MOVED, _MOST_MOVED:-_MOST_MOVED]
    lengths = np.sqrt(np.square(windows).sum(axis=(2, 3)) * np.square(centre).sum())
    products = np.einsum("ijkl,kl->ij", windows, centre)
    return float(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0).max(initial=0))


def can_be_followed(before: Fingerprint, after: Fingerprint) -> bool:
    """Whether most tiles of one picture are found in the other."""
    from sonoforge.runtime.images import frame_motion  # noqa: PLC0415 - only for pictures that are alike

    if before.view is None or after.view is None:
        return False
    size = (frame_motion.SIDE, frame_motion.SIDE)
    frames = (Image.fromarray(view).resize(size, Image.Resampling.BILINEAR) for view in (before.view, after.view))
    return frame_motion.shift_between(*map(np.asarray, frames)) is not None
