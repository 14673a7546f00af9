"""Print the table of `training/docs/evidence.md`: do intervals and tests hold what they say when images come in groups?

    python training/studies/intervals/by_group.py --repeats 2000 # minutes; standard error of a coverage 0.5 points

Intervals of 95 % at a true share of .85 and .95, the size of the test at 5 %, and its power at the minimum detectable
difference that the comparisons state on average: by image (Wilson, McNemar, Connor) and by group (ours).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))

from clustered import BUSI, Bools, Ints, World, draw_answers
from sonoforge.training.statistics.intervals import minimum_detectable_difference, sign_flip_test, wilson_by_group

DIFFERING = 0.08  # share of the images that one arm alone classifies correctly; about .05 for README's two arms
Grouping = Callable[[Ints], Ints]
LARGER = np.repeat([1, 2, 3, 4, 5, 6, 7], [470, 60, 25, 10, 8, 4, 3])
"""580 groups, 794 images."""
HUNDRED = np.repeat([1, 2, 3, 4], [75, 21, 3, 1])
"""100 groups of sizes in BUSI's proportions, 130 images."""


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


def by_group(groups: Ints) -> Ints:
    """Count groups as they are."""
    return groups


def by_image(groups: Ints) -> Ints:
    """Take each image for a group of its own: Wilson's own interval, McNemar's exact test, Connor's formula."""
    return np.arange(len(groups))


def coverage(world: World, share: float, grouping: Grouping, repeats: int) -> float:
    """Share of the intervals that hold the true share."""
    rng, true = np.random.default_rng(1), world.mean_share(share)
    held = 0
    for _ in range(repeats):
        correct, groups = draw_answers(world, share, rng)
        _, low, high = wilson_by_group(correct, grouping(groups)).values()
        held += low <= true <= high
    return held / repeats


def significant(pair: tuple[Bools, Bools, Ints], grouping: Grouping) -> bool:
    """Whether the test calls the arms different at 5 %."""
    first, second, groups = pair
    return sign_flip_test(first, second, grouping(groups))["p_value"] < 0.05


def rejections(world: World, difference: float, grouping: Grouping, repeats: int) -> float:
    """Share of the comparisons that the test calls different."""
    rng = np.random.default_rng(2)
    return float(np.mean([significant(draw_pair(world, DIFFERING, difference, rng), grouping) for _ in range(repeats)]))


def stated_difference(world: World, grouping: Grouping, repeats: int) -> float:
    """Mean of the minimum detectable differences that comparisons without a true difference state."""
    rng = np.random.default_rng(3)
    stated = []
    for _ in range(repeats):
        first, second, groups = draw_pair(world, DIFFERING, 0.0, rng)
        stated.append(minimum_detectable_difference(first, second, grouping(groups)))
    return float(np.nanmean(stated))


def row(world: World, repeats: int) -> list[str]:
    """Cells of one world: by image and by group of every figure."""
    cells = []
    for share in (0.85, 0.95):
        cells += [f"{100 * coverage(world, share, grouping, repeats):.1f}" for grouping in (by_image, by_group)]
    cells += [f"{100 * rejections(world, 0.0, grouping, repeats):.1f}" for grouping in (by_image, by_group)]
    differences = [stated_difference(world, grouping, min(repeats, 300)) for grouping in (by_image, by_group)]
    cells += [
        f"{100 * rejections(world, difference, by_group, repeats):.0f} ({100 * difference:.1f})"
        for difference in differences
    ]
    return cells


def main() -> None:
    """Print the table as Markdown, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000, help="simulated data sets of each figure")
    repeats = parser.parse_args().repeats
    print(
        "| groups | correlation | large groups are | coverage at .85: image | group | at .95: image | group "
        "| test: image | group | power at the difference stated (points): image | group |"
    )
    print("|---" * 11 + "|")
    for name, sizes in (("BUSI", BUSI), ("larger", LARGER), ("100", HUNDRED)):
        for correlation in (0.0, 0.3, 0.6, 0.9):
            for slope, word in ((-1, "harder"), (1, "easier")):
                cells = row(World(sizes, correlation, slope), repeats)
                print(f"| {name} | {correlation:g} | {word} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
