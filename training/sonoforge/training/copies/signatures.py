"""Make signatures: data that recognises copies of a set of pictures, but cannot rebuild any picture.

A signature has `KEYPOINTS` local features of a picture: place, size and angle in one byte each, and the signs of `BITS`
projections of the descriptor (Hamming embedding: Jegou, Douze, Schmid, "Hamming embedding and weak geometric
consistency for large scale image search", ECCV 2008, section 3).  A sign stands for the mean length of its projection,
so the signs give back a coarse descriptor, which is looked up like any other (Jegou, Douze, Schmid, "Product
quantization for nearest neighbor search", TPAMI 33(1), 2011, section III).

It also has a *sketch* (`sonoforge.runtime.images.sketches`) of the large detail of the middle, on 16 x 16 cells, which
new speckle does not change.  It is compared with every window of another picture.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sonoforge.runtime.images.sketches import SIGNS, Sketches, lowest, waves
from sonoforge.training.copies import second_search
from sonoforge.training.copies.local_features import Alignment, LocalFeatures, extract_features
from sonoforge.training.copies.matches import UNKNOWN, Found, Match, Matches, find_once
from sonoforge.training.copies.near_duplicates import align_candidate, prepare
from sonoforge.training.copies.pictures import SIDE, Look, Picture
from sonoforge.training.copies.shared_features import find_candidates
from sonoforge.training.progress import in_threads

KEYPOINTS = 48
BITS = 64
FEWEST_AGREEING = 6
"""Features at different places that must agree on one transform; in unrelated pictures no more than three do
(``training/docs/trained-on.md``)."""

ALIKE = 0.52
"""Likeness above which a sketch is recognised; of 4 800 unrelated pictures the most alike has 0.47
(``training/docs/trained-on.md``)."""

_SEARCH = "signatures3"  # with a new number, earlier results are not read
_STEPS_AN_OCTAVE = 24  # of a size: 3 %
_STEPS_A_TURN = 256 / (2 * np.pi)
_FAR = 60.0  # pixels; keypoints farther apart than this count as far apart
_NEAR_BY_CHANCE = 0.25  # as coarse as the descriptors are; .05 misses a third of the crops, .6 finds no more
_LARGE = 0.7  # power of the size: between the best for crops (0, all over) and for blur (1, the largest)
_LATTICE = second_search.Lattice(
    cells=16, width=0.75, sizes=(1.0, 1.1, 1.21, 1.33), angles=(-10, -5, 0, 5, 10), reach=0.15
)
_EVENED = 0.7  # power of the typical amplitude that divides each frequency: 1 raises the noise of the highest ones


class Signatures(NamedTuple):
    """The signatures of N pictures with T keypoints altogether."""

    middle: NDArray[np.float32]  # (128,) mean of the descriptors
    axes: NDArray[np.float32]  # (128, BITS) orthonormal directions of the projections
    spread: NDArray[np.float32]  # (BITS,) mean length of the projections
    counts: NDArray[np.uint8]  # (N,) keypoints of each picture
    points: NDArray[np.uint8]  # (T, 2) pixels of the fitted picture
    sizes: NDArray[np.uint8]  # (T,) 1/24 octaves
    angles: NDArray[np.uint8]  # (T,) 1/256 turns
    bits: NDArray[np.uint8]  # (T, BITS / 8)
    usual: NDArray[np.float32]  # see `Sketches`
    sketches: NDArray[np.uint8]  # (N, SIGNS / 8)


def make_signatures(pictures: Sequence[Picture]) -> Signatures:
    """Reduce grey (H, W) uint8 pictures to signatures; 25 ms each on one core."""
    features = [_take(own, _spread_out(own.points, own.sizes)) for own in in_threads(extract_features, pictures)]
    sketches = make_sketches(pictures)

    def stacked(name: str, *empty: int) -> NDArray[np.float32]:
        return np.concatenate([np.empty(empty, np.float32), *(getattr(one, name) for one in features)])

    descriptors = np.concatenate([np.empty((0, 128), np.uint8), *(one.descriptors for one in features)])
    middle = descriptors.mean(axis=0, dtype=np.float32) if len(descriptors) else np.zeros(128, np.float32)
    # Random directions will do (section 3.1 of the paper), once they are fixed.
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(128, BITS)))[0].astype(np.float16).astype(np.float32)
    projected = (descriptors.astype(np.float32) - middle) @ axes
    sizes, angles = stacked("sizes", 0), stacked("angles", 0)
    return Signatures(
        middle=middle,
        axes=axes,
        spread=np.abs(projected).mean(axis=0) if len(projected) else np.zeros(BITS, np.float32),
        counts=np.array([len(one.points) for one in features], np.uint8),
        points=np.clip(np.round(stacked("points", 0, 2)), 0, SIDE - 1).astype(np.uint8),
        sizes=np.clip(np.round(np.log2(sizes) * _STEPS_AN_OCTAVE), 0, 255).astype(np.uint8),
        angles=(np.round(angles * _STEPS_A_TURN).astype(np.int64) % 256).astype(np.uint8),
        bits=np.packbits(projected > 0, axis=1),
        usual=sketches.usual,
        sketches=sketches.signs,
    )


def _take(features: LocalFeatures, which: NDArray[np.int64]) -> LocalFeatures:
    _, _, points, sizes, angles, descriptors = features
    return features._replace(
        points=points[which], sizes=sizes[which], angles=angles[which], descriptors=descriptors[which]
    )


def _spread_out(points: NDArray[np.float32], sizes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Choose keypoints one by one, each with the largest product of its size and distance to those chosen."""
    chosen: list[int] = []
    apart = np.full(len(points), _FAR)
    for _ in range(min(KEYPOINTS, len(points))):
        best = int((apart * sizes**_LARGE).argmax())
        chosen.append(best)
        apart = np.minimum(apart, np.hypot(*(points - points[best]).T))
    return np.array(chosen, np.int64)


def _restore(signatures: Signatures) -> list[LocalFeatures]:
    """Return the features, as far as the signatures keep them."""
    signs = np.unpackbits(signatures.bits, axis=1, count=BITS).astype(np.float32) * 2 - 1
    descriptors = signatures.middle + (signs * signatures.spread) @ signatures.axes.T
    whole = LocalFeatures(
        width=SIDE,
        height=SIDE,
        points=signatures.points.astype(np.float32),
        sizes=np.exp2(signatures.sizes / np.float32(_STEPS_AN_OCTAVE)),
        angles=signatures.angles.astype(np.float32) / np.float32(_STEPS_A_TURN),
        descriptors=np.clip(np.round(descriptors), 0, 255).astype(np.uint8),
    )
    ends = np.cumsum(signatures.counts, dtype=np.int64)
    return [_take(whole, np.arange(end - count, end)) for end, count in zip(ends, signatures.counts, strict=True)]


def recognise(signatures: Signatures, pictures: Sequence[Picture], title: str = "") -> list[Match]:
    """Find pictures that show all or part of what the signatures were made from, each with its best original.

    Return at most one match for each of M grey (H, W) uint8 pictures (``second``) with its original (``first``), in
    order; see `in_threads` for ``title``. If local features match nothing, compare with the sketches: in those matches,
    ``correlation`` is the likeness, and the matrix holds only size and rotation.
    """
    known = _restore(signatures)
    best: dict[int, Match] = {}
    # All products run in threads of their own, and are too small to be shared out once more.
    with threadpool_limits(1, "blas"):
        features = prepare(pictures, title).features
        asked = find_candidates(known, features, near_by_chance=_NEAR_BY_CHANCE).T.tolist()
        for match in in_threads(functools.partial(align_candidate, known, features, FEWEST_AGREEING), asked):
            if match and (match.second not in best or match.agreeing > best[match.second].agreeing):
                best[match.second] = match
        others = [place for place in range(len(pictures)) if place not in best]
        sketched = find_sketched(Sketches(signatures.usual, signatures.sketches), [pictures[place] for place in others])
    for place, found in zip(others, sketched, strict=True):
        if found:
            pose = Alignment(np.column_stack((found.size * second_search.rotation(found.angle), np.zeros(2))), 0)
            alike = UNKNOWN._replace(correlation=found.likeness)
            best[place] = Match.of(found.sketch, place, found.look, pose, alike)
    return [best[place] for place in sorted(best)]


def recognise_once(
    store: Path | None,
    signatures: Callable[[], Signatures],
    of: Iterable[str],
    pictures: Sequence[Picture],
    hashes: Sequence[str],
) -> list[Match]:
    """Return what `recognise` finds, kept in a folder (see `matches.find_once`).

    ``of`` has hashes of the signatures' originals or of their file, ``hashes`` the content hashes of the M grey (H, W)
    uint8 pictures.
    """

    def find() -> Found:
        title = "looking for images it has seen" if len(pictures) > 100 else ""
        return Found(Matches.of(recognise(signatures(), pictures, title)))

    return find_once(store, _SEARCH, (*of, "", *hashes), find).matches.rows


# ---- sketches


class Sketched(NamedTuple):
    """The sketch most like a picture."""

    sketch: int
    likeness: float  # 0 to 1; 0.8 for the picture itself
    look: Look  # how the picture is transformed to fit
    size: float  # of the sketched part in the picture; 1 unchanged
    angle: float  # radians, from x towards y


def make_sketches(pictures: Sequence[Picture]) -> Sketches:
    """Sketch grey (H, W) uint8 pictures; 1 ms each on one core."""
    basis = np.concatenate(_cosines(), axis=1)
    parts = in_threads(
        lambda picture: second_search.cut_middle(second_search.shrink(picture), _LATTICE) @ basis, pictures
    )
    return Sketches.of(np.concatenate([np.empty((0, SIGNS), np.float32), *parts]))


def find_sketched(sketches: Sketches, pictures: Sequence[Picture]) -> list[Sketched | None]:
    """Find the sketch most like each grey (H, W) uint8 picture; None if none reaches `ALIKE`."""
    if not len(sketches.signs):
        return [None] * len(pictures)
    even, odd = _cosines()
    weights = np.maximum(sketches.usual, 1e-6) ** np.float32(-_EVENED)
    evens = even.shape[1]
    bases = second_search.Parts(even * weights[:evens], odd * weights[evens:])
    queries = second_search.Parts(sketches.vectors[:, :evens], sketches.vectors[:, evens:])

    def find(picture: Picture) -> Sketched | None:
        shrunk = second_search.shrink(picture)
        windows = second_search.project_onto(bases, second_search.cut_windows(shrunk, _LATTICE))
        likeness, window, flips = second_search.best_window(queries, windows, slice(None))
        best = int(likeness.argmax())
        if likeness[best] < ALIKE:
            return None
        grid, _, _ = second_search.place_of(int(window[best]), shrunk, _LATTICE)
        look = Look(mirrored=bool(flips[best] & 2), inverted=bool(flips[best] & 1))
        return Sketched(best, float(likeness[best]), look, grid.cell / _LATTICE.cell_of(shrunk), grid.angle)

    return in_threads(find, pictures)


@functools.cache
def _cosines() -> second_search.Parts:
    """Return the SIGNS lowest frequencies of a window's cosine transform, without its mean."""
    own, (down, across) = waves(_LATTICE.cells), lowest(_LATTICE.cells)
    basis = np.einsum("ik,jk->ijk", own[:, down], own[:, across]).reshape(-1, SIGNS)
    evens = int((across % 2 == 0).sum())
    return second_search.Parts(basis[:, :evens], basis[:, evens:])
