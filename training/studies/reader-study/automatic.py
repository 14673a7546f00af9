"""Answer a reading sheet by a linear classifier, as is and at matched sharpness.

``python training/studies/reader-study/automatic.py REAL FAKE COUNT [--features SPACE] [--weights FILE]``

It is trained on real and generated images of the same sets (up to 500 of each kind, the sheet's among them) in five
folds, so that none is answered by a classifier that saw it or a near-duplicate.  The AUC compares answers of different
folds, whose intercepts differ a little: it errs downwards.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.evaluation.measure import embed_both
from sonoforge.training.evaluation.spaces import Space, open_spaces
from sonoforge.training.gan.image_sets import is_run, read_image_sets
from sonoforge.training.reader_study.scores import CONFIDENCES, Answer, Reader, score_reader
from sonoforge.training.reader_study.sheet import Key, Pair, commitment, encode, make_sheet
from sonoforge.training.run_options import EvaluationInput
from sonoforge.training.statistics.results import Record

LEARNT = 500  # images of each kind at most
FOLDS = 5
C = 0.01  # inverse strength of the penalty: AUC rises with it up to here on BUSI, and stays level up to 10
_STEPS = 1000  # of the optimiser; some 30 suffice at this C
_DARKEST = 1e-3  # power, in squared grey levels, below which a ring counts as empty: flat images have no finite level
_ROUNDING = 1 / 12  # power that rounding to whole grey levels adds, and that damping leaves room for


def main() -> None:
    """Draw a sheet, answer it twice, and print how often that was right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real")
    parser.add_argument("fake")
    parser.add_argument("count", type=int, help="images of each kind on the sheet")
    parser.add_argument("--features", default="mobilenetv2-imagenet")
    parser.add_argument("--weights", default="")
    given = parser.parse_args()
    drawn = LEARNT if is_run(Path(given.fake)) else None
    pair = Pair(*read_image_sets(EvaluationInput(real=given.real, fake=given.fake, count=drawn), None))
    key = make_sheet([pair], given.count, (), bytes(32)).key
    (space,) = open_spaces((given.features,), given.weights, "cpu")
    for found in answer(pair, key, space):
        accuracy, area = found["accuracy"], found["auc"]
        assert area is not None
        print(
            f"{found['name']}: {accuracy['right']} of {accuracy['of']} right, {100 * accuracy['low']:.0f} to "
            f"{100 * accuracy['high']:.0f} %; AUC {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})"
        )


def answer(pair: Pair, key: Key, space: Space) -> list[Record]:
    """Return how often a classifier on features of ``space`` is right, as is and at matched sharpness."""
    rng = np.random.default_rng(0)
    most = min(LEARNT, len(pair.real), len(pair.fake))
    (real, groups, real_numbers), (fake, _, fake_numbers) = (_choose(images, key, most, rng) for images in pair)
    readers = []
    for name, sets in {"as is": (real, fake), "matched sharpness": match_sharpness(real, fake)}.items():
        reals, fakes = (own.features for own in embed_both(space, *sets, None))
        logits = score_held_out(fakes, reals, groups).tolist()
        answers = {}
        for number, logit in zip([*fake_numbers, *real_numbers], logits, strict=True):
            certainty = abs(2 * float(expit(logit)) - 1)
            confidence = CONFIDENCES[min(int(certainty * len(CONFIDENCES)), len(CONFIDENCES) - 1)]
            answers[number] = Answer("generated" if logit > 0 else "real", confidence, None, None, 0.0)
        answers.pop(0)  # of images that are not on the sheet
        readers.append(score_reader(Reader(name, "", "", answers), key))
    return readers


def score_held_out(
    generated: NDArray[np.float32], real: NDArray[np.float32], real_groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Score each image, generated ones first, by a linear classifier that saw none of its fold; above 0: generated.

    The classifier two-sample test of Lopez-Paz, Oquab, ICLR 2017: logistic regression with an L2 penalty on features
    that are standardised on the training folds.  Near-duplicates of real images stay in one fold.
    """
    rows, is_fake = np.concatenate([generated, real]), np.arange(len(generated) + len(real)) < len(generated)
    rng = np.random.default_rng(derive_seed(0, "linear probe folds"))
    fold_of = np.concatenate([_deal(np.arange(len(generated)), rng), _deal(real_groups, rng)])
    logits = np.empty(len(rows))
    for fold in range(FOLDS):
        held_out = fold_of == fold
        scaler = StandardScaler().fit(rows[~held_out])
        classifier = LogisticRegression(C=C, class_weight="balanced", max_iter=_STEPS)
        classifier.fit(scaler.transform(rows[~held_out]), is_fake[~held_out])
        logits[held_out] = classifier.decision_function(scaler.transform(rows[held_out]))
    return logits


def _deal(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Give each image a fold, (N,) int64: whole groups, the largest first, else at random, to the emptiest fold."""
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of = np.empty(len(sizes), np.int64)
    filled = np.zeros(FOLDS, np.int64)
    for group in order:
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return fold_of[member]


def _choose(
    images: ImageSet, key: Key, most: int, rng: np.random.Generator
) -> tuple[Pixels, NDArray[np.int64], list[int]]:
    """Take the images of the sheet, and others at random: pixels, groups, and the number on the sheet or 0."""
    places = {entry.picture: entry.number for entry in key.entries}
    numbers = [places.get(commitment(encode(pixels)), 0) for pixels in images.pixels]
    rows = sorted(rng.permutation(len(images)).tolist(), key=lambda row: not numbers[row])[:most]
    return images.pixels[rows], images.groups[rows], [numbers[row] for row in rows]


def match_sharpness(first: Pixels, second: Pixels) -> tuple[Pixels, Pixels]:
    """Low-pass both sets so that the mean level of their spectra is the same in every ring of equal frequency.

    The spectrum is the discrete cosine transform's, which mirrors an image at its borders: no jump there counts as fine
    detail.  Levels (logarithms) are averaged, so that one bright scan does not stand for all.  Brightness is unchanged.

    Args:
        first: (N, S, S, C) uint8.
        second: (M, S, S, C) uint8.
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
    for image in images:
        power = np.square(_transformed(image)).mean(2)
        total += np.log(np.maximum(np.bincount(rings.ravel(), power.ravel()) / counts, _DARKEST))
    levels: NDArray[np.float64] = total / len(images)
    levels[0] = 0.0
    return levels


def _filtered(images: Pixels, gains: NDArray[np.float64]) -> Pixels:
    damped = [fft.idctn(_transformed(image) * gains[..., None], axes=(0, 1), norm="ortho") for image in images]
    found: Pixels = np.clip(np.rint(damped), 0, 255).astype(np.uint8)
    return found


def _transformed(image: Pixels) -> NDArray[np.float64]:
    found: NDArray[np.float64] = fft.dctn(image.astype(np.float64), axes=(0, 1), norm="ortho")
    return found


if __name__ == "__main__":
    main()
