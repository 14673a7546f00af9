"""Pictures given twice in one batch: the same pixels, or the same picture saved again, scaled or brightened.

A picture's detail is its 32 x 32 view less the mean of the nine cells round each cell: what scans share, such as the
dark of the depth, is gone, and a change of gain, of size or of compression hardly moves it.  Two details are compared
by their correlation.  ``runtime/docs/quality.md`` has precision and recall.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.grey_levels import grey_levels

ALIKE = 0.8
"""Correlation of details from which two pictures seem to be one.  Of 2 million pairs of different scans of
BUSI, BUS-BRA and BrEaST the most alike reach 0.57; a scan of BUSI and its changed copy reach 0.96 at least."""

NOT_REPEATED: dict[str, str | None] = {"copy_of": None, "seems_copy_of": None}
"""What `Repeats.find` says of a picture unlike all others."""

SIDE = 32
"""Cells of a picture's detail, in each direction."""
_MOST = 10_000  # earlier pictures compared with: 47 MB
# A picture is compared in full only where its rows' lowest frequencies leave it possible that it is alike: one pair in
# two thousand of 728 scans of BUSI, BUS-BRA and BrEaST.
_LOWEST = 5
_WAVES = np.cos(np.pi * (np.arange(SIDE)[:, None] + 0.5) * np.arange(_LOWEST) / SIDE, dtype=np.float32)
_WAVES /= np.linalg.norm(_WAVES, axis=0)  # (32, 5), orthonormal: the discrete cosine transform
_ROUNDING = 1e-4
_FEW = 500  # details copied to be compared: 2 MB
_AND_ROUND = np.clip(np.arange(-1, SIDE + 1), 0, SIDE - 1)  # the cells of a line, its ends continued by one
_LEAST_SPREAD = 0.5  # of the detail, in grey levels: an empty picture is like every other


class Fingerprint(NamedTuple):
    """What a picture is recognised by."""

    digest: bytes  # SHA-256 of its size and grey levels
    detail: NDArray[np.float32]  # (1024,) float32 of length 1; all 0 for a picture without any
    view: NDArray[np.uint8] | None  # (S, S) grey levels that the network sees; None for a picture of another kind


def take_fingerprint(levels: NDArray[np.uint8], view: NDArray[np.uint8] | None) -> Fingerprint:
    """Return what a picture is recognised by.

    Args:
        levels: (H, W): grey levels of the whole picture, see `grey_levels`.
        view: (S, S, 3) uint8, or (S, S) of a grey picture: what the network sees of it.  None: it is recognised by its
            pixels alone, for pictures of another kind than `ALIKE` was measured on.
    """
    digest = hashlib.sha256(f"({levels.shape[1]}, {levels.shape[0]})".encode())
    digest.update(np.ascontiguousarray(levels).data)
    if view is None:
        return Fingerprint(digest.digest(), np.zeros(SIDE**2, np.float32), None)
    seen = grey_levels(view)
    return Fingerprint(digest.digest(), _detail(seen), seen)


def _detail(seen: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = Image.fromarray(seen).resize((SIDE, SIDE), Image.Resampling.BOX)
    cells = np.asarray(small, np.float32)
    wide = cells[_AND_ROUND[:, None], _AND_ROUND]
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    detail = cells - (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    detail = (detail - detail.mean()).ravel()
    length = float(np.linalg.norm(detail))
    found = detail / length if length >= _LEAST_SPREAD * SIDE else np.zeros_like(detail)
    return np.asarray(found, np.float32)


def in_words(entry: Mapping[str, object]) -> list[str]:
    """Say what `Repeats.find` has put into a file's entry, in one phrase or none."""
    if entry["copy_of"]:
        return [f"the same picture as {entry['copy_of']}"]
    return [f"seems to be the same picture as {entry['seems_copy_of']}"] if entry["seems_copy_of"] else []


class Repeats:
    """Compares each picture with the ten thousand before it."""

    def __init__(self) -> None:
        self._files: list[str] = []
        self._next = 0
        self._first: dict[bytes, str] = {}
        # Pages of memory are taken as they are written.
        self._details = np.empty((_MOST, SIDE**2), np.float32)
        self._sketches = np.empty((_MOST, SIDE * _LOWEST), np.float32)  # the lowest frequencies of each
        self._rest = np.empty(_MOST, np.float32)  # length of what these leave of it

    def find(self, file: str, own: Fingerprint) -> dict[str, str | None]:
        """Look for a picture among the earlier ones, and remember it.

        Returns:
            ``copy_of``: the first file with the same pixels; where there is none, ``seems_copy_of``: the file whose
            picture is most like it, see `ALIKE`.  None for no such file.
        """
        first = self._first.setdefault(own.digest, file)
        if first != file:
            return {"copy_of": first, "seems_copy_of": None}
        sketch = (own.detail.reshape(SIDE, SIDE) @ _WAVES).ravel()
        rest = math.sqrt(max(0.0, float(own.detail @ own.detail - sketch @ sketch)))
        alike, count = None, len(self._files)
        # By Cauchy and Schwarz, no correlation is greater.
        most = self._sketches[:count] @ sketch + rest * self._rest[:count]
        near = np.flatnonzero(most >= ALIKE - _ROUNDING)
        if len(near):
            # Of noise, which has no lowest frequencies, all are compared, without a copy.
            some = near if len(near) <= _FEW else slice(count)
            correlations = self._details[some] @ own.detail
            best = int(correlations.argmax())
            if correlations[best] >= ALIKE:
                alike = self._files[np.arange(count)[some][best]]
        if count < _MOST:
            self._files.append(file)
        else:
            self._files[self._next] = file  # the oldest gives way
        self._details[self._next], self._sketches[self._next], self._rest[self._next] = own.detail, sketch, rest
        self._next = (self._next + 1) % _MOST
        return {"copy_of": None, "seems_copy_of": alike}
