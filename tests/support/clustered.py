"""Invented answers and scores of classifiers on images that come in groups; their true figures are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Test = TypeVar("Test", bound=Callable[..., None])

BUSI = np.repeat([1, 2, 3, 4, 6, 7], [442, 124, 19, 5, 1, 1])
"""Images in each of BUSI's groups of near-duplicates: 592 groups, 780 images."""
PREVALENCE = 0.27


class World(NamedTuple):
    """Where images come from."""

    sizes: Ints  # images in each group; groups are drawn from these
    # Correlation of any two images of a group: each copies the group's common outcome with the root of this chance.
    correlation: float
    slope: int  # 1: groups of two and more images are easier (differ more often between arms); -1: harder (less often)

    def draw_groups(self, rng: np.random.Generator) -> Ints:
        """Sizes of as many groups as there are, drawn with replacement."""
        return rng.choice(self.sizes, len(self.sizes))

    def tilt(self, sizes: Ints) -> NDArray[np.float64]:
        """0 for single images, up to 1 or -1 for three and more."""
        return self.slope * np.minimum(sizes - 1, 2) / 2

    def shares(self, share: float, sizes: Ints) -> NDArray[np.float64]:
        """Chance that an image of a group of each size is answered correctly."""
        return np.clip(share + 0.1 * self.tilt(sizes), 0.02, 0.985)

    def mean_share(self, share: float) -> float:
        """Return the share of all images that are answered correctly, in the long run."""
        return float((self.sizes * self.shares(share, self.sizes)).sum() / self.sizes.sum())

    def draw(self, rng: np.random.Generator, chances: NDArray[np.float64], sizes: Ints) -> tuple[Ints, Ints]:
        """Outcome of each image and its group; ``chances`` (groups, outcomes) add up to 1."""
        group = np.repeat(np.arange(len(sizes)), sizes)
        bounds = np.cumsum(chances, axis=1)[:, :-1]
        common = (rng.random((len(sizes), 1)) > bounds).sum(axis=1)
        own = (rng.random((len(group), 1)) > bounds[group]).sum(axis=1)
        copied = rng.random(len(group)) < np.sqrt(self.correlation)
        return np.where(copied, common[group], own), group


def draw_answers(world: World, share: float, rng: np.random.Generator) -> tuple[Bools, Ints]:
    """Which images one classifier answers correctly, and their groups."""
    sizes = world.draw_groups(rng)
    correct = world.shares(share, sizes)
    outcome, group = world.draw(rng, np.stack([correct, 1 - correct], axis=1), sizes)
    return outcome == 0, group


class Scores(NamedTuple):
    """What one draw gives, N images."""

    positive: NDArray[np.bool_]
    arms: tuple[NDArray[np.float64], NDArray[np.float64]]
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]


def draw_scores(
    separations: tuple[float, float],
    correlation: float,
    rng: np.random.Generator,
    sizes: NDArray[np.int64] = BUSI,
    prevalence: float = PREVALENCE,
) -> Scores:
    """Draw as many groups as there are, each of one kind; scores of one group, and of both arms, are correlated."""
    drawn = rng.choice(sizes, len(sizes))
    groups = np.repeat(np.arange(len(drawn)), drawn)
    positive = (rng.random(len(drawn)) < prevalence)[groups]
    folds = rng.integers(0, 10, len(drawn))[groups]

    def noise() -> NDArray[np.float64]:
        common, own = rng.normal(size=len(drawn))[groups], rng.normal(size=len(groups))
        return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own

    shared = noise()
    first, second = (np.sqrt(0.7) * shared + np.sqrt(0.3) * noise() + d * positive for d in separations)
    return Scores(positive, (first, second), groups, folds)


def over_few_groups(test: Test) -> Test:
    """Run a test of coverage for every number of groups, correlation and prevalence that intervals must hold for."""
    grid = {"count": [30, 60, 200], "correlation": [0.0, 0.3], "prevalence": [0.5, 0.2]}
    for name, values in grid.items():
        test = pytest.mark.parametrize(name, values)(test)
    return test


def few_groups(count: int) -> Ints:
    """Sizes of so many groups, one to four images each."""
    return np.arange(count) % 4 + 1


def separation_for(auc: float) -> float:
    """Return the distance of two normal distributions of spread 1 with this area under the ROC curve."""
    return float(np.sqrt(2) * stats.norm.ppf(auc))


def true_sensitivity(separation: float, specificity: float) -> float:
    """Share of the class above the rest's quantile."""
    return float(stats.norm.cdf(separation - stats.norm.ppf(specificity)))


def posterior(scores: NDArray[np.float64], separation: float) -> NDArray[np.float64]:
    """Probability of the class given a score, by Bayes' rule."""
    odds = PREVALENCE / (1 - PREVALENCE) * np.exp(separation * scores - separation**2 / 2)
    probability: NDArray[np.float64] = odds / (1 + odds)
    return probability


def true_net_benefit(separation: float, threshold: float) -> float:
    """Net benefit of acting where the posterior probability reaches a threshold."""
    odds = threshold / (1 - threshold)
    cut = (np.log(odds * (1 - PREVALENCE) / PREVALENCE) + separation**2 / 2) / separation
    found, needless = stats.norm.sf(cut - separation), stats.norm.sf(cut)
    return float(PREVALENCE * found - (1 - PREVALENCE) * needless * odds)
