"""A sketch of a picture: 24 bytes by which a copy is recognised whose speckle was drawn anew.

Local features tell pictures apart by what is small, and new speckle replaces that.  A sketch is of what is large: the
middle of the picture, on 16 x 16 cells, as a cosine transform, and of its 192 lowest frequencies the signs alone.  It
is looked for in every window of another picture, as `pose_search` looks for its queries: enlarged up to 1.4 times,
turned and shifted, mirrored or as a negative.  A window counts by the cosine of the angle between the signs and its own
transform, in which each frequency is divided by what it usually has.

Signs of projections: Jegou, Douze, Schmid ("Hamming embedding and weak geometric consistency for large scale image
search", ECCV 2008, section 3).  Low frequencies of a cosine transform as a copy's mark: Coskun, Sankur, Memon
("Spatio-temporal transform based video hashing", IEEE Trans. Multimedia 8(6), 2006).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.pictures import Look, Picture
from sonoforge.training.copies.pose_search import Lattice, cut_middle, cut_windows, is_flat, place_of, shrink
from sonoforge.training.progress import in_threads

SIGNS = 192
ALIKE = 0.52
"""Likeness from which a picture is recognised; of 4 800 unrelated ones the most alike has 0.47
(``training/docs/trained-on.md``)."""

_LATTICE = Lattice(cells=16, width=0.75, sizes=(1.0, 1.1, 1.21, 1.33), angles=(-10, -5, 0, 5, 10), reach=0.15)
_EVENED = 0.7  # power of the usual amplitude by which one is divided: 1 raises the noise of the highest frequencies


class Sketches(NamedTuple):
    """Those of N pictures."""

    usual: NDArray[np.float32]  # (SIGNS,) root mean square of each amplitude
    signs: NDArray[np.uint8]  # (N, SIGNS / 8)


class Sketched(NamedTuple):
    """The sketch that a picture is most alike."""

    sketch: int
    likeness: float  # 0 to 1; 0.8 for the picture itself
    look: Look  # how the picture has to be seen to fit
    size: float  # of what was sketched, in the picture; 1 unchanged
    angle: float  # radians, from x towards y


def make_sketches(pictures: Sequence[Picture]) -> Sketches:
    """Sketch grey (H, W) uint8 pictures; 1 ms each on one core."""
    basis, _ = _cosines()
    parts = in_threads(lambda picture: cut_middle(shrink(picture), _LATTICE) @ basis, pictures)
    amplitudes = np.concatenate([np.empty((0, SIGNS), np.float32), *parts])
    usual = np.sqrt((amplitudes**2).mean(axis=0)) if len(amplitudes) else np.ones(SIGNS, np.float32)
    return Sketches(np.asarray(usual, np.float32), np.packbits(amplitudes > 0, axis=1))


def find_sketched(sketches: Sketches, pictures: Sequence[Picture]) -> list[Sketched | None]:
    """Find the most alike sketch of each grey (H, W) uint8 picture; None where none is."""
    signs = np.unpackbits(sketches.signs, axis=1, count=SIGNS).astype(np.float32) * 2 - 1
    if not len(signs):
        return [None] * len(pictures)
    signs /= np.float32(np.sqrt(SIGNS))
    weights = np.maximum(sketches.usual, 1e-6) ** np.float32(-_EVENED)
    return in_threads(functools.partial(_find, signs, weights), pictures)


def _find(signs: NDArray[np.float32], weights: NDArray[np.float32], picture: Picture) -> Sketched | None:
    basis, evens = _cosines()
    shrunk = shrink(picture)
    windows = cut_windows(shrunk, _LATTICE)
    amplitudes = (windows @ basis) * weights
    length = np.linalg.norm(amplitudes, axis=1)
    amplitudes *= np.where(is_flat(windows), 0, 1 / np.maximum(length, 1e-6)).astype(np.float32)[:, None]
    # Mirroring turns the sign of the odd frequencies, a negative that of all.
    likeness, other = signs[:, :evens] @ amplitudes[:, :evens].T, signs[:, evens:] @ amplitudes[:, evens:].T
    np.abs(likeness, out=likeness)
    likeness += np.abs(other, out=other)
    sketch, window = divmod(int(likeness.argmax()), len(windows))
    if likeness[sketch, window] < ALIKE:
        return None
    even = float(signs[sketch, :evens] @ amplitudes[window, :evens])
    odd = float(signs[sketch, evens:] @ amplitudes[window, evens:])
    grid, _, _ = place_of(window, shrunk, _LATTICE)
    size = grid.cell / _LATTICE.cell_of(shrunk)
    return Sketched(
        sketch, float(likeness[sketch, window]), Look(mirrored=even * odd < 0, inverted=even < 0), size, grid.angle
    )


@functools.cache
def _cosines() -> tuple[NDArray[np.float32], int]:
    """Return the (cells * cells, SIGNS) lowest frequencies, and how many of them are even from left to right.

    Those come first; the lowest of all, the mean, is left out.
    """
    cells = _LATTICE.cells
    places = np.arange(cells)
    waves = np.cos(np.pi * (places[:, None] + 0.5) * places / cells) * np.sqrt(2 / cells)
    waves[:, 0] /= np.sqrt(2)
    frequencies = sorted((down**2 + across**2, down, across) for down in places for across in places)[1 : SIGNS + 1]
    frequencies.sort(key=lambda one: one[2] % 2)
    basis = np.stack([np.outer(waves[:, down], waves[:, across]).ravel() for _, down, across in frequencies], axis=1)
    return np.asarray(basis, np.float32), sum(across % 2 == 0 for _, _, across in frequencies)
