"""The automatic reader of a reading sheet: a linear classifier that learned real from generated images of its sets.

It answers the very images that readers see, so that its accuracy may stand beside theirs: once with all images as they
are, once at matched sharpness.  Other images of the same sets, as many real as generated ones, join in its training.
Each image is answered by a classifier that saw neither it nor a near-duplicate of it, see `linear_probe`.

The AUC of its confidences compares answers of different folds, whose intercepts differ a little: it errs downwards.

Its answers are files like those that readers save, and are read, checked and scored as those are.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import expit

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.evaluation.image_set import ImageSet, joined_sets
from sonoforge.training.evaluation.linear_probe import FOLDS, score_held_out
from sonoforge.training.evaluation.measure import embed_both
from sonoforge.training.evaluation.spaces import Space
from sonoforge.training.reader_study.answers import CONFIDENCES, Answer, Reader
from sonoforge.training.reader_study.sheet import Key, Pair, picture_hash

FOLDER = "automatic-reader"
"""In the sheet's folder, of the answers; for nobody until all have answered, as the key."""
LEARNT = 500
"""Images of each kind at most, those of the sheet among them: twice 1000 to embed, minutes on two cores."""


def read_automatically(
    pairs: Sequence[Pair], key: Key, space: Space, seed: int = 0, cache_folder: Path | None = None
) -> list[Reader]:
    """Answer a sheet automatically, with the images as they are and at matched sharpness.

    Args:
        pairs: That the sheet was made of.
        key: Of the sheet.
        space: Whose features are classified.
        seed: Of the folds, and of the other images that join in the training.
        cache_folder: Of features, see `embed_cached`.

    Raises:
        SonoforgeError: Fewer than five groups of near-duplicates.
    """
    rng = np.random.default_rng(derive_seed(seed, "automatic reader"))
    most = min(max(len(key.entries) // 2, LEARNT) // len(pairs), *(len(images) for pair in pairs for images in pair))
    fake = _choose([pair.fake for pair in pairs], _places(key, "generated"), most, rng)
    real = _choose([pair.real for pair in pairs], _places(key, "real"), most, rng)
    ways = {"as is": (real.pixels, fake.pixels), "matched sharpness": match_sharpness(real.pixels, fake.pixels)}
    learnt = f"{len(real.pixels)} real and {len(fake.pixels)} generated images in {FOLDS} folds"
    readers = []
    for name, sets in ways.items():
        reals, fakes = (own.features for own in embed_both(space, *sets, cache_folder))
        logits = score_held_out(fakes, reals, real.groups, seed=seed).logits.tolist()
        said = zip([*fake.numbers, *real.numbers], logits, strict=True)
        answers = {number: _answer(logit) for numbers, logit in said for number in numbers}
        experience = f"logistic regression on {space.short_name}, {learnt}"
        readers.append(Reader(f"automatic, {name}", experience, "", answers))
    return readers


class _Chosen(NamedTuple):
    """Images of one kind, and for each its numbers on the sheet: none, one, or one for each pair that shares it."""

    pixels: Pixels  # (N, S, S, C) uint8
    groups: NDArray[np.int64]  # (N,)
    numbers: list[list[int]]


def _choose(sets: Sequence[ImageSet], places: Mapping[str, list[int]], most: int, rng: np.random.Generator) -> _Chosen:
    """Take the images of the sheet, and others of each set at random, ``most`` of each.

    As many as of the other kind: were there more of one kind in some class, the class would tell the kind.
    """
    joined, start = functools.reduce(joined_sets, sets), 0
    chosen: list[int] = []
    numbers: list[list[int]] = []
    for images in sets:
        found = [places.get(picture_hash(pixels), []) for pixels in images.pixels]
        shuffled = rng.permutation(len(images)).tolist()
        rows = sorted(shuffled, key=lambda row: not found[row])[:most]
        chosen += [start + row for row in rows]
        numbers += [found[row] for row in rows]
        start += len(images)
    return _Chosen(joined.pixels[chosen], joined.groups[chosen], numbers)


def _places(key: Key, kind: str) -> dict[str, list[int]]:
    """Return the numbers of the images of one kind on the sheet, by the hash of their pictures."""
    found: dict[str, list[int]] = {}
    for entry in key.entries:
        if entry.kind == kind:
            found.setdefault(entry.picture, []).append(entry.number)
    return found


def _answer(logit: float) -> Answer:
    certainty = abs(2 * float(expit(logit)) - 1)
    confidence = CONFIDENCES[min(int(certainty * len(CONFIDENCES)), len(CONFIDENCES) - 1)]
    return Answer("generated" if logit > 0 else "real", confidence, None, None, 0.0)


_DARKEST = 1e-3  # power, in squared grey levels, below which a ring counts as empty: flat images have no finite level
_ROUNDING = 1 / 12  # power that rounding to whole grey levels adds, and that damping leaves room for
_BLOCK = 64  # images at a time


def match_sharpness(first: Pixels, second: Pixels) -> tuple[Pixels, Pixels]:
    """Low-pass both sets so that the mean level of their spectra is the same in every ring.

    Both are filtered, rounded and clipped alike, the one that needs no filter too.  Contrast that one set has more of
    at every fineness is levelled as well.

    Args:
        first: (N, S, S, C) uint8, N at least 1.
        second: (M, S, S, C) uint8, M at least 1.
    """
    side = first.shape[1]
    rings = np.hypot(*np.meshgrid(np.arange(side), np.arange(side))).astype(int)
    levels = [_mean_levels(images, rings) for images in (first, second)]
    lower = np.minimum(*levels)
    room = np.maximum(np.exp(lower) - _ROUNDING, 0)
    gains = [np.where(own > lower, np.sqrt(room / np.exp(own)), 1.0) for own in levels]
    return _filtered(first, gains[0][rings]), _filtered(second, gains[1][rings])


def _mean_levels(images: Pixels, rings: NDArray[np.int_]) -> NDArray[np.float64]:
    """Mean logarithm of the power in each ring, (K,): ring k has k to k + 1 half periods in the image's side."""
    counts = np.bincount(rings.ravel())
    total = np.zeros(len(counts))
    for start in range(0, len(images), _BLOCK):
        power = np.square(_transformed(images[start : start + _BLOCK])).mean(3).reshape(-1, rings.size)
        sums = np.stack([np.bincount(rings.ravel(), own) for own in power])
        total += np.log(np.maximum(sums / counts, _DARKEST)).sum(0)
    levels: NDArray[np.float64] = total / len(images)
    levels[0] = 0.0
    return levels


def _filtered(images: Pixels, gains: NDArray[np.float64]) -> Pixels:
    found = np.empty_like(images)
    for start in range(0, len(images), _BLOCK):
        damped = _transformed(images[start : start + _BLOCK]) * gains[..., None]
        levels = fft.idctn(damped, axes=(1, 2), norm="ortho")
        found[start : start + _BLOCK] = np.clip(np.rint(levels), 0, 255)
    return found


def _transformed(images: Pixels) -> NDArray[np.float64]:
    found: NDArray[np.float64] = fft.dctn(images.astype(np.float64), axes=(1, 2), norm="ortho")
    return found
