"""Recognise pictures by sketches: the signs of the `SIGNS` lowest frequencies of their detail, 24 bytes a picture.

They come from a cosine transform (Coskun, Sankur, Memon, "Spatio-temporal transform based video hashing", IEEE Trans.
Multimedia 8(6), 2006).  A picture scores by the cosine of the angle between the signs and its own transform, each
frequency divided by its typical amplitude.  Mirroring only changes the signs of frequencies that are odd across.
JavaScript does the same in ``mobile/www/js/sketches.js``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

SIDE = 32
"""Cells of a picture's detail, in each direction; see `repeats.detail_of`."""
SIGNS = 192
ALIKE = 0.48
"""Likeness from which a picture is recognised, about 0.78 for a picture itself; of breast scans of other collections
the most alike reach 0.44 (``training/studies/training-images``)."""

Floats = NDArray[np.float32]


def waves(cells: int) -> Floats:
    """Return the cosine transform of a line of cells, a frequency in each column; orthonormal."""
    found = np.cos(np.pi * (np.arange(cells)[:, None] + 0.5) * np.arange(cells) / cells)
    return np.asarray(found / np.linalg.norm(found, axis=0), np.float32)


def lowest(cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the `SIGNS` lowest frequencies of a square of cells, down and across, without the mean.

    Frequencies that are even across come first.
    """
    down, across = np.divmod(np.arange(cells**2), cells)
    order = np.lexsort((across, down, down**2 + across**2))[1 : SIGNS + 1]
    order = order[np.argsort(across[order] % 2, kind="stable")]
    return down[order], across[order]


_WAVES = waves(SIDE)
DOWN, ACROSS = lowest(SIDE)
EVENS = int((ACROSS % 2 == 0).sum())  # frequencies that are even across


def amplitudes(detail: Floats) -> Floats:
    """Return the amplitudes (SIGNS,) of a picture's detail (1024,), of any length."""
    return np.asarray((_WAVES.T @ detail.reshape(SIDE, SIDE) @ _WAVES)[DOWN, ACROSS])


@dataclass(frozen=True, eq=False)
class Sketches:
    """The sketches of N pictures."""

    usual: Floats  # (SIGNS,) root mean square of each amplitude
    signs: NDArray[np.uint8]  # (N, SIGNS / 8)

    @classmethod
    def of(cls, found: Floats) -> Sketches:
        """Sketch pictures with amplitudes (N, SIGNS)."""
        usual = np.sqrt((found**2).mean(axis=0)) if len(found) else np.ones(SIGNS)
        return cls(np.asarray(usual, np.float32), np.packbits(found > 0, axis=1))

    @cached_property
    def vectors(self) -> Floats:
        """The signs as vectors of length 1, (N, SIGNS)."""
        signs = np.unpackbits(self.signs, axis=1, count=SIGNS).astype(np.float32) * 2 - 1
        return signs / np.float32(np.sqrt(SIGNS))

    def likeness(self, detail: Floats) -> float:
        """Return the likeness, 0..1, of a picture's detail (1024,), its mirror image or its negative to any sketch."""
        own = amplitudes(detail) / np.maximum(self.usual, 1e-6)
        found = np.abs(self.vectors[:, :EVENS] @ own[:EVENS]) + np.abs(self.vectors[:, EVENS:] @ own[EVENS:])
        length = float(np.linalg.norm(own))
        return float(found.max()) / length if length else 0.0
