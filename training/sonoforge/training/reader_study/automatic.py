"""The automatic reader of a reading sheet: a linear classifier trained on real and generated images of the same sets.

It answers the images that readers see, so that its accuracy can be set beside theirs: once as they are, once at matched
sharpness.  Other images of the same sets, as many real as generated ones, join in its training.  Each image is answered
by a classifier that saw neither it nor a near-duplicate of it, see `linear_probe`.

The AUC of its confidences compares answers of different folds, whose intercepts differ a little: it errs downwards.

Its answers are saved in the same files as readers' answers.
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
from sonoforge.training.reader_study.sheet import Key, Pair, commitment, encode

FOLDER = "automatic-reader"
"""Of the answers, in the sheet's folder; like the key, for nobody until all have answered."""
LEARNT = 500
"""Images of each kind at most, the sheet's included: embedding twice 1000 takes minutes on two cores."""
_DARKEST = 1e-3  # power, in squared grey levels, below which a ring counts as empty: flat images have no finite level
_ROUNDING = 1 / 12  # power that rounding to whole grey levels adds, and that damping leaves room for
_BLOCK = 64  # images at a time


def read_automatically(
    pairs: Sequence[Pair], key: Key, space: Space, seed: int = 0, cache_folder: Path | None = None
) -> list[Reader]:
    """Answer a sheet automatically, with the images as they are and at matched sharpness.

    Args:
        pairs: Of the sheet.
        key: Of the sheet.
        space: Whose features are classified.
        seed: Of the folds, and of the other images that join in the training.
        cache_folder: Of features, see `embed_cached`.

    Raises:
        SonoforgeError: Fewer than five groups of near-duplicates.
    """
    rng = np.random.default_rng(derive_seed(seed, "automatic reader"))
    most = min(max(len(key.entries) // 2, LEARNT) // len(pairs), *(len(images) for pair in pairs for images in pair))
    places: dict[str, dict[str, list[int]]] = {"real": {}, "generated": {}}
    for entry in key.entries:
        places[entry.kind].setdefault(entry.picture, []).append(entry.number)
    fake = _choose([pair.fake for pair in pairs], places["generated"], most, rng)
    real = _choose([pair.real for pair in pairs], places["real"], most, rng)
    ways = {"as is": (real.pixels, fake.pixels), "matched sharpness": match_sharpness(real.pixels, fake.pixels)}
    learnt = f"{len(real.pixels)} real and {len(fake.pixels)} generated images in {FOLDS} folds"
    readers = []
    for name, sets in ways.items():
        reals, fakes = (own.features for own in embed_both(space, *sets, cache_folder))
        logits = score_held_out(fakes, reals, real.groups, seed=seed).logits.tolist()
        answers = {}
        for numbers, logit in zip([*fake.numbers, *real.numbers], logits, strict=True):
            certainty = abs(2 * float(expit(logit)) - 1)
            confidence = CONFIDENCES[min(int(certainty * len(CONFIDENCES)), len(CONFIDENCES) - 1)]
            said = Answer("generated" if logit > 0 else "real", confidence, None, None, 0.0)
            answers.update(dict.fromkeys(numbers, said))
        experience = f"logistic regression on {space.short_name}, {learnt}"
        readers.append(Reader(f"automatic, {name}", experience, "", answers))
    return readers


class _Chosen(NamedTuple):
    """Images of one kind, and for each its numbers on the sheet: one for each pair that shows it."""

    pixels: Pixels  # (N, S, S, C) uint8
    groups: NDArray[np.int64]  # (N,)
    numbers: list[list[int]]


def _choose(sets: Sequence[ImageSet], places: Mapping[str, list[int]], most: int, rng: np.random.Generator) -> _Chosen:
    """Take the images of the sheet, and others of each set at random, ``most`` of each.

    As many as of the other kind: otherwise a class could tell the kind.
    """
    joined, start = functools.reduce(joined_sets, sets), 0
    chosen: list[int] = []
    numbers: list[list[int]] = []
    for images in sets:
        found = [places.get(commitment(encode(pixels)), []) for pixels in images.pixels]
        shuffled = rng.permutation(len(images)).tolist()
        rows = sorted(shuffled, key=lambda row: not found[row])[:most]
        chosen += [start + row for row in rows]
        numbers += [found[row] for row in rows]
        start += len(images)
    return _Chosen(joined.pixels[chosen], joined.groups[chosen], numbers)


def match_sharpness(first: Pixels, second: Pixels) -> tuple[Pixels, Pixels]:
    """Low-pass both sets so that the mean level of their spectra is the same in every ring of equal frequency.

    Generated images are often smoother than scans, which a classifier sees at once and a reader on a phone may not.
    What still tells the sets apart at equal spectra is another difference.

    The spectrum is the discrete cosine transform's, which mirrors an image at its borders: no jump there counts as fine
    detail, and a factor on its coefficients is a symmetric filter.  Levels (logarithms) are averaged, so that one
    bright scan does not stand for all, as in `distances.spectrum`.  Brightness, the coefficient of frequency 0, is
    unchanged.  Both sets are filtered, rounded and clipped alike, even if one needs no filter.  Higher contrast at all
    frequencies is levelled as well.

    Args:
        first: (N, S, S, C) uint8, N at least 1.
        second: (M, S, S, C) uint8, M at least 1.
    """
    side = first.shape[1]
    # Ring k has k to k + 1 half periods in the image's side.
    rings = np.hypot(*np.meshgrid(np.arange(side), np.arange(side))).astype(int)
    levels = [_mean_levels(images, rings) for images in (first, second)]
    lower = np.minimum(*levels)
    room = np.maximum(np.exp(lower) - _ROUNDING, 0)
    gains = [np.where(own > lower, np.sqrt(room / np.exp(own)), 1.0) for own in levels]
    return _filtered(first, gains[0][rings]), _filtered(second, gains[1][rings])


def _mean_levels(images: Pixels, rings: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return the mean logarithm of the power in each ring, (K,)."""
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
