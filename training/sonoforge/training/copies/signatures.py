"""What a set of pictures leaves behind that recognises their copies, and from which no picture can be made again.

Of each picture, `KEYPOINTS` local features (`local_features`), large and far apart first.  Of each feature, its place,
size and angle to a byte each, and of its 128 numbers the signs of `BITS` projections: the Hamming embedding of Jegou,
Douze, Schmid ("Hamming embedding and weak geometric consistency for large scale image search", ECCV 2008, section 3).
That is 12 bytes a feature, 0.6 kB a picture, and no grey level.  The signs of a `sketches.Sketches` are 24 bytes more.

A sign stands for the mean length of its projection, so the signs give a coarse descriptor back, and a picture's
features are looked for among these as among any others (`shared_features`, `alignment`; unequal precision of both
sides: Jegou, Douze, Schmid, "Product quantization for nearest neighbor search", TPAMI 33(1), 2011, section III).
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sonoforge.training.copies.alignment import Alignment
from sonoforge.training.copies.local_features import LocalFeatures, extract_features, stack
from sonoforge.training.copies.matches import UNKNOWN, Found, Match, Matches, find_once
from sonoforge.training.copies.pictures import SIDE, Picture
from sonoforge.training.copies.pose_search import rotation
from sonoforge.training.copies.search import align_candidate, prepare
from sonoforge.training.copies.shared_features import find_candidates
from sonoforge.training.copies.sketches import Sketched, Sketches, find_sketched, make_sketches
from sonoforge.training.progress import in_threads

KEYPOINTS = 48
BITS = 64
FEWEST_AGREEING = 6
"""Features at different places that must agree on one transform: of unrelated pictures no more than three do
(``training/docs/trained-on.md``)."""

_SEARCH = "signatures3"  # another number, and no earlier answer is read
_STEPS_AN_OCTAVE = 24  # of a size: 3 %
_STEPS_A_TURN = 256 / (2 * np.pi)
_FAR = 60.0  # pixels; keypoints farther apart than this count as far apart
_NEAR_BY_CHANCE = 0.25  # as coarse as the descriptors are; .05 misses a third of the crops, .6 finds no more
_LARGE = 0.7  # power of the size: between the best for crops (0, all over) and for blur (1, the largest)


class Signatures(NamedTuple):
    """Those of N pictures, with T keypoints altogether."""

    middle: NDArray[np.float32]  # (128,) mean of the descriptors
    axes: NDArray[np.float32]  # (128, BITS) orthonormal directions of the projections
    spread: NDArray[np.float32]  # (BITS,) mean length of the projections
    counts: NDArray[np.uint8]  # (N,) keypoints of each picture
    points: NDArray[np.uint8]  # (T, 2) pixels of the fitted picture
    sizes: NDArray[np.uint8]  # (T,) 1/24 octaves
    angles: NDArray[np.uint8]  # (T,) 1/256 turns
    bits: NDArray[np.uint8]  # (T, BITS / 8)
    usual: NDArray[np.float32]  # (SIGNS,) amplitudes of the sketches
    sketches: NDArray[np.uint8]  # (N, SIGNS / 8)


def make_signatures(pictures: Sequence[Picture]) -> Signatures:
    """Reduce grey (H, W) uint8 pictures to signatures; 25 ms each on one core."""
    features = in_threads(extract_features, pictures)
    sketches = make_sketches(pictures)
    return _reduce([_take(own, _spread_out(own.points, own.sizes)) for own in features], sketches)


def _take(features: LocalFeatures, which: NDArray[np.int64]) -> LocalFeatures:
    return features._replace(
        points=features.points[which],
        sizes=features.sizes[which],
        angles=features.angles[which],
        descriptors=features.descriptors[which],
    )


def _spread_out(points: NDArray[np.float32], sizes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Choose keypoints one by one: the one whose size times distance to those chosen is largest."""
    chosen: list[int] = []
    apart = np.full(len(points), _FAR)
    for _ in range(min(KEYPOINTS, len(points))):
        best = int((apart * sizes**_LARGE).argmax())
        chosen.append(best)
        apart = np.minimum(apart, np.hypot(*(points - points[best]).T))
    return np.array(chosen, np.int64)


def _reduce(pictures: Sequence[LocalFeatures], sketches: Sketches) -> Signatures:
    features = stack(pictures)
    descriptors = features.descriptors
    middle = descriptors.mean(axis=0, dtype=np.float32) if len(descriptors) else np.zeros(128, np.float32)
    # Random directions do (section 3.1 of the paper), once they are fixed.
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(128, BITS)))[0].astype(np.float16).astype(np.float32)
    projected = (descriptors.astype(np.float32) - middle) @ axes
    return Signatures(
        middle=middle,
        axes=axes,
        spread=np.abs(projected).mean(axis=0) if len(projected) else np.zeros(BITS, np.float32),
        counts=np.array([len(one.points) for one in pictures], np.uint8),
        points=np.clip(np.round(features.points), 0, SIDE - 1).astype(np.uint8),
        sizes=np.clip(np.round(np.log2(features.sizes) * _STEPS_AN_OCTAVE), 0, 255).astype(np.uint8),
        angles=(np.round(features.angles * _STEPS_A_TURN).astype(np.int64) % 256).astype(np.uint8),
        bits=np.packbits(projected > 0, axis=1),
        usual=sketches.usual,
        sketches=sketches.signs,
    )


def _restore(signatures: Signatures) -> list[LocalFeatures]:
    """Return the features as far as the signatures still have them."""
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
    return [
        _take(whole, np.arange(end - count, end))
        for end, count in zip(ends.tolist(), signatures.counts.tolist(), strict=True)
    ]


def recognise(signatures: Signatures, pictures: Sequence[Picture], title: str = "") -> list[Match]:
    """Find the pictures that show what the signatures are of, or a part of it, each with the original that fits best.

    At most one match for each of M grey (H, W) uint8 pictures (``second``) with its original (``first``), in their
    order; ``title``: see `in_threads`.  Pictures whose local features show nothing are compared with the sketches: of
    those matches, ``correlation`` is the likeness, and the matrix has the size and the turn alone.
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
            best[place] = _as_match(place, found)
    return [best[place] for place in sorted(best)]


def _as_match(picture: int, found: Sketched) -> Match:
    pose = Alignment(np.column_stack((found.size * rotation(found.angle), np.zeros(2))), 0)
    return Match.of(found.sketch, picture, found.look, pose, UNKNOWN._replace(correlation=found.likeness))


def recognise_once(
    store: Path | None,
    signatures: Callable[[], Signatures],
    of: Iterable[str],
    pictures: Sequence[Picture],
    hashes: Sequence[str],
) -> list[Match]:
    """Return what `recognise` finds, kept in a folder; about 45 core-milliseconds a picture the first time.

    ``signatures`` makes or reads them, ``of`` are hashes of what they are of, or of their file; ``hashes`` are those of
    the contents of the M grey (H, W) uint8 pictures.  For ``store`` see `matches.find_once`.
    """

    def find() -> Found:
        title = "looking for images it has seen" if len(pictures) > 100 else ""
        return Found(Matches.of(recognise(signatures(), pictures, title)))

    return find_once(store, _SEARCH, (*of, "", *hashes), find).matches.rows
