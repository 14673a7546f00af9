"""Two arms on the same images: the difference, its test, and the smallest difference the test could find."""

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from sonoforge.training.statistics.intervals import Figure, Floats, Labels, Truth, group_weights, percentile_interval
from sonoforge.training.statistics.results import Interval, SignFlipTest

POWER = 0.8
LEVEL = 0.05


def paired_bootstrap(figure: Figure[Truth], truth: Truth, first: Floats, second: Floats, groups: Labels) -> Interval:
    """Difference ``second - first`` of two arms on the same images, both resampled by the same groups."""
    weights = group_weights(groups)
    return percentile_interval(figure(truth, second, weights) - figure(truth, first, weights))


def sign_flip_test(first_correct: NDArray[np.bool_], second_correct: NDArray[np.bool_], groups: Labels) -> SignFlipTest:
    """Test whether two arms are right equally often on the same images (N,), which come in groups (N,).

    If the arms were alike, exchanging them in a whole group would change nothing, so each group's difference in
    correct images is as likely to have the other sign (Fisher, The Design of Experiments, 1935, section 21; by block:
    Winkler et al., NeuroImage 123, 2015).  Exact over all signs: the law of their sum is built group by group (Pagano
    & Tritchler, JASA 78, 1983).  With one image a group it is McNemar's exact test; with many groups it is nearly
    Obuchowski's (Stat. Med. 17, 1998), by Yang, Sun & Hardin's form of it (Biometrical Journal 52, 2010).
    """
    differences = _group_differences(first_correct, second_correct, groups)
    reach = int(np.abs(differences).sum())
    law = np.zeros(2 * reach + 1)  # of the sums -reach..reach
    law[reach] = 1.0
    for step in np.abs(differences):
        law = (np.roll(law, step) + np.roll(law, -step)) / 2  # never over the ends, as reach is the sum of the steps
    sums = np.abs(np.arange(-reach, reach + 1))
    return SignFlipTest(
        first_only=int(np.sum(first_correct & ~second_correct)),
        second_only=int(np.sum(~first_correct & second_correct)),
        p_value=min(1.0, float(law[sums >= abs(int(differences.sum()))].sum())),
    )


def minimum_detectable_difference(
    first_correct: NDArray[np.bool_], second_correct: NDArray[np.bool_], groups: Labels
) -> float:
    """Smallest accuracy difference that `sign_flip_test` at `LEVEL` would find with probability `POWER`, 0..1.

    Connor's sample-size formula (Biometrics 43, 1987), solved for the difference d, with groups for images:
    ``n d - 1 = z_level sqrt(q) + z_power sqrt(q - (n d)^2 / k)`` for n images in k groups.  In place of the number of
    discordant images stands q, the sum over groups of the squared difference in correct images; both are equal with
    one image a group.  The 1 is the continuity correction, as the test is exact (Fleiss, Levin & Paik,
    Statistical Methods for Rates and Proportions, 2003, chapter 13).  nan where the arms differ in too few images.
    """
    differences = _group_differences(first_correct, second_correct, groups)
    images, count, reach = len(first_correct), len(np.unique(groups)), float(np.abs(differences).sum())
    squares = float((differences**2).sum())
    z_level = float(stats.norm.ppf(1 - LEVEL / 2))
    z_power = float(stats.norm.ppf(POWER))

    def excess(net: float) -> float:  # of a net gain in images
        spread = z_level * np.sqrt(squares) + z_power * np.sqrt(max(squares - net * net / count, 0.0))
        return float(net - 1 - spread)

    if excess(reach) < 0:
        return float("nan")
    return float(optimize.brentq(excess, 0.0, reach)) / images


def _group_differences(first: NDArray[np.bool_], second: NDArray[np.bool_], groups: Labels) -> Labels:
    """Return of each group where they differ, how many images more the second got right than the first."""
    _, inverse = np.unique(groups, return_inverse=True)
    net = np.bincount(inverse, weights=second.astype(np.float64) - first)
    differences: Labels = np.rint(net[net != 0]).astype(np.int64)
    return differences
