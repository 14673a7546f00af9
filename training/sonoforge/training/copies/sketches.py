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
from scipy import fft

from sonoforge.training.copies.pictures import Look, Picture
from sonoforge.training.copies.pose_search import (
    Lattice,
    Parts,
    best_window,
    cut_middle,
    cut_windows,
    place_of,
    project_onto,
    shrink,
)
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
    basis = np.concatenate(_cosines(), axis=1)
    parts = in_threads(lambda picture: cut_middle(shrink(picture), _LATTICE) @ basis, pictures)
    amplitudes = np.concatenate([np.empty((0, SIGNS), np.float32), *parts])
    usual = np.sqrt((amplitudes**2).mean(axis=0)) if len(amplitudes) else np.ones(SIGNS, np.float32)
    return Sketches(np.asarray(usual, np.float32), np.packbits(amplitudes > 0, axis=1))


def find_sketched(sketches: Sketches, pictures: Sequence[Picture]) -> list[Sketched | None]:
    """Find the most alike sketch of each grey (H, W) uint8 picture; None where none is."""
    if not len(sketches.signs):
        return [None] * len(pictures)
    even, odd = _cosines()
    signs = np.unpackbits(sketches.signs, axis=1, count=SIGNS).astype(np.float32) * 2 - 1
    signs /= np.float32(np.sqrt(SIGNS))
    weights = np.maximum(sketches.usual, 1e-6) ** np.float32(-_EVENED)
    evens = even.shape[1]
    bases = Parts(even * weights[:evens], odd * weights[evens:])
    return in_threads(functools.partial(_find, Parts(signs[:, :evens], signs[:, evens:]), bases), pictures)


def _find(signs: Parts, bases: Parts, picture: Picture) -> Sketched | None:
    shrunk = shrink(picture)
    likeness, window, flips = best_window(signs, project_onto(bases, cut_windows(shrunk, _LATTICE)), slice(None))
    best = int(likeness.argmax())
    if likeness[best] < ALIKE:
        return None
    grid, _, _ = place_of(int(window[best]), shrunk, _LATTICE)
    look = Look(mirrored=bool(flips[best] & 2), inverted=bool(flips[best] & 1))
    return Sketched(best, float(likeness[best]), look, grid.cell / _LATTICE.cell_of(shrunk), grid.angle)


@functools.cache
def _cosines() -> Parts:
    """Return the SIGNS lowest frequencies of a window's cosine transform, but for its mean."""
    places = range(_LATTICE.cells)
    waves = fft.dct(np.eye(_LATTICE.cells), axis=0, norm="ortho")
    lowest = sorted((down**2 + across**2, down, across) for down in places for across in places)[1 : SIGNS + 1]
    even, odd = (
        np.stack([np.outer(waves[down], waves[across]).ravel() for _, down, across in lowest if across % 2 == rest], 1)
        for rest in (0, 1)
    )
    return Parts(np.asarray(even, np.float32), np.asarray(odd, np.float32))
