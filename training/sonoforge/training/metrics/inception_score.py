"""Inception score (Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016).

The exponential of the mean Kullback-Leibler divergence between what a classifier says of one image and what it
says of all of them (section 4): 1 where all images look alike to it, K where each of its K classes is shown
equally often and without doubt.

Three warnings.  It never sees a real image: a generator that paints one perfect picture of each ImageNet class has the
best score.  The classes are those of the classifier: on scans, ImageNet's thousand say little.  And a set of n images
cannot score more than n: published figures take 50 000 images in ten splits, and ten splits of fifty images are
biased far down.  So small sets are scored whole (`recommended_splits`), and figures are comparable only between sets
of one size, with the same splits.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed

SPLITS = 10  # Salimans 2016, in the authors' code
SMALLEST_SPLIT = 500  # ours, not published: with fewer images a split cannot even show half of ImageNet's classes


class InceptionScore(NamedTuple):
    """An inception score, and in how many parts the images were scored."""

    value: float  # mean over splits, 1 to the number of classes
    splits: int  # number of parts that were scored apart


def recommended_splits(images: int) -> int:
    """Return the published ten splits from 5000 images on, below that one: the whole set."""
    return SPLITS if images >= SPLITS * SMALLEST_SPLIT else 1


def inception_score(probabilities: NDArray[Any], splits: int = SPLITS, seed: int = 0) -> InceptionScore:
    """Measure exp(mean over images of KL(p(y|x) || p(y))), p(y) being the mean over the split's images.

    Args:
        probabilities: (N, K) of each generated image, rows that sum to 1 (within 0.001); softmax of the logits.
        splits: Parts of the shuffled set, scored apart; `recommended_splits` gives what N allows.
        seed: Of the shuffling, which is without effect on one split.

    Raises:
        ValueError: Not a table of probabilities.
        SonoforgeError: Fewer than two images in a split, or a probability that is not a finite number.
    """
    if probabilities.ndim != 2:
        raise ValueError(f"inception score: found shape {probabilities.shape}, expected (N, K)")
    count = len(probabilities)
    if splits < 1 or count < 2 * splits:
        raise SonoforgeError(
            f"inception score: found {count} images for {splits} splits, expected at least 1 split, with 2 images "
            "in each; take fewer splits or more images"
        )
    table = probabilities.astype(np.float64)
    if not np.isfinite(table).all():
        raise SonoforgeError(
            "inception score: found class probabilities that are not finite numbers; check the images and the weights"
        )
    if table.min() < 0 or np.abs(table.sum(1) - 1).max() > 1e-3:
        raise ValueError("inception score: found rows that are no probabilities, expected softmax of the logits")
    order = np.random.default_rng(derive_seed(seed, "inception score splits")).permutation(count)
    bounds = [part * count // splits for part in range(splits + 1)]
    parts = [table[order[low:high]] for low, high in itertools.pairwise(bounds)]
    # The mean divergence is the entropy of the mean minus the mean entropy.
    scores = [np.exp(entr(part.mean(0)).sum() - entr(part).sum(1).mean()) for part in parts]
    return InceptionScore(float(np.mean(scores)), splits)
