"""Measure how well a linear classifier of features tells generated images from real ones, by AUC.

This is the classifier two-sample test of Lopez-Paz, Oquab, ICLR 2017, with AUC instead of accuracy: 0.5 if the sets
cannot be told apart linearly, 1 if one plane separates held-out images.

Features are standardised on the training folds; logistic regression with an L2 penalty, C = 0.01, classes weighted
equally; five folds; AUC within each held-out fold, averaged, because scores are not comparable across folds.
Near-duplicates stay in one fold.  On MobileNetV2's features of 50 to 250 BUSI scans against equally many slightly
blurred or noisy ones, AUC rises with C up to 0.01 and stays level up to 10.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from sonoforge.runtime.distances.fid_kid import check_pair
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.statistics.results import Interval

FOLDS = 5
C = 0.01  # inverse strength of the penalty, in scikit-learn's convention; see the top of the file
_STEPS = 1000  # of the optimiser; some 30 suffice at this C
# Folds share their training images, so their AUCs are not independent: Nadeau, Bengio, "Inference for the
# Generalization Error", Machine Learning 52, 2003, put 1/J + n_test/n_train in place of 1/J into the variance of a mean
# over J folds.  Measured on real against real, 100 draws each of 50 to 250 scans: the interval holds 0.5 in 98 to 100 %
# of them, and without the factor in 73 to 85 %.
_DEPENDENCE = 1 + FOLDS / (FOLDS - 1)

Groups = NDArray[np.int64]


def linear_probe(
    generated: NDArray[Any],
    real: NDArray[Any],
    real_groups: Groups,
    generated_groups: Groups | None = None,
    seed: int = 0,
) -> Interval:
    """Return the AUC of a linear classifier between two sets, (N, D) and (M, D); chance may take it below 0.5.

    It is the mean over folds, with a 95 % interval that counts near-duplicate groups rather than images
    (`auc_interval`). ``generated_groups`` is for "generated" images that are real; by default each image is its own
    group.

    Raises:
        ValueError: A group is on both sides.
        SonoforgeError: A side has fewer than five groups, or a feature is not a finite number.
    """
    found = score_held_out(generated, real, real_groups, generated_groups, seed)
    held_out = [found.fold_of == fold for fold in range(FOLDS)]
    auc = float(np.mean([roc_auc_score(found.is_generated[own], found.logits[own]) for own in held_out]))
    low, high = auc_interval(auc, *found.groups, inflation=_DEPENDENCE)
    return Interval(value=auc, low=low, high=high)


class HeldOutScores(NamedTuple):
    """The classifier's score for each image while its fold was held out: N generated images, then M real ones."""

    logits: NDArray[np.float64]  # (N + M,) above 0: generated; comparable within a fold
    is_generated: NDArray[np.bool_]  # (N + M,)
    fold_of: NDArray[np.int64]  # (N + M,) 0 to `FOLDS` - 1
    groups: tuple[int, int]  # number of near-duplicate groups, generated and real


def score_held_out(
    generated: NDArray[Any],
    real: NDArray[Any],
    real_groups: Groups,
    generated_groups: Groups | None = None,
    seed: int = 0,
) -> HeldOutScores:
    """Score each image by a classifier that saw none of its fold; see `linear_probe` for arguments and errors."""
    x, y = check_pair("linear probe", generated, real)
    if generated_groups is None:
        fake_groups: Groups = np.arange(len(x))
    elif len(np.intersect1d(generated_groups, real_groups)):
        raise ValueError("linear probe: a group of near-duplicates is on both sides")
    else:
        fake_groups = generated_groups
    counts = len(np.unique(fake_groups)), len(np.unique(real_groups))
    if min(counts) < FOLDS:
        raise SonoforgeError(
            f"linear probe: {counts[0]} generated and {counts[1]} real near-duplicate groups, fewer than {FOLDS} of "
            "each; give more images, or leave this metric out"
        )
    rows, is_fake = np.concatenate([x, y]), np.arange(len(x) + len(y)) < len(x)
    rng = np.random.default_rng(derive_seed(seed, "linear probe folds"))
    fold_of = np.concatenate([_deal(fake_groups, rng), _deal(real_groups, rng)])
    logits = np.empty(len(rows))
    for fold in range(FOLDS):
        held_out = fold_of == fold
        scaler = StandardScaler().fit(rows[~held_out])
        classifier = LogisticRegression(C=C, class_weight="balanced", max_iter=_STEPS)
        classifier.fit(scaler.transform(rows[~held_out]), is_fake[~held_out])
        logits[held_out] = classifier.decision_function(scaler.transform(rows[held_out]))
    return HeldOutScores(logits, is_fake, fold_of, counts)


def auc_interval(
    auc: float, positives: int, negatives: int, inflation: float = 1.0, confidence: float = 0.95
) -> tuple[float, float]:
    """Return Newcombe's score interval of an AUC (Statistics in Medicine 25, 2006, p. 559, method 5).

    It holds the AUCs with a standard error, by Hanley and McNeil's formula for exponential scores, that does not rule
    out the observed one; it does not collapse at 0 and 1, where small samples often are. ``positives`` and
    ``negatives`` count independent ones, groups rather than images; ``inflation`` multiplies the variance.
    """
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    others = (positives + negatives) / 2 - 1

    def excess(true: float) -> float:
        variance = true * (1 - true) * (1 + others * ((1 - true) / (2 - true) + true / (1 + true)))
        return (true - auc) ** 2 - z * z * inflation * variance / (positives * negatives)

    # Negative next to the observed AUC, positive at the far ends.
    low = 0.0 if auc <= 0 else float(optimize.brentq(excess, 0.0, min(auc, 1 - 1e-12)))
    high = 1.0 if auc >= 1 else float(optimize.brentq(excess, max(auc, 1e-12), 1.0))
    return low, high


def _deal(groups: Groups, rng: np.random.Generator) -> NDArray[np.int64]:
    """Give each image a fold, (N,) int64: whole groups, largest first, ties at random, to the emptiest fold."""
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of = np.empty(len(sizes), np.int64)
    filled = np.zeros(FOLDS, np.int64)
    for group in order:
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return fold_of[member]
