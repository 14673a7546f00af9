"""Invented answers of classifiers on images that come in groups, with a known correlation inside a group."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

BUSI = np.repeat([1, 2, 3, 4, 6, 7], [442, 124, 19, 5, 1, 1])
"""Images in each of BUSI's groups of near-duplicates: 592 groups, 780 images."""
LARGER = np.repeat([1, 2, 3, 4, 5, 6, 7], [470, 60, 25, 10, 8, 4, 3])
"""580 groups, 794 images."""
HUNDRED = np.repeat([1, 2, 3, 4], [75, 21, 3, 1])
"""100 groups of sizes in BUSI's proportions, 130 images."""


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


def draw_pair(world: World, differing: float, difference: float, rng: np.random.Generator) -> tuple[Bools, Bools, Ints]:
    """Which images two arms answer correctly, and the groups.

    A share ``differing`` of the images is answered correctly by one arm alone; ``difference`` is the accuracy of the
    second minus that of the first, the same in groups of all sizes.
    """
    sizes = world.draw_groups(rng)
    either = np.maximum(differing * (1 + 0.5 * world.tilt(sizes)), difference)
    first, second = (either - difference) / 2, (either + difference) / 2
    outcome, group = world.draw(rng, np.stack([first, second, 1 - either], axis=1), sizes)
    return outcome != 1, outcome != 0, group
