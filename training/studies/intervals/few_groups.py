"""Coverage of 95 % intervals with 30, 60 and 200 groups: of an AUC, a sensitivity at 90 % specificity, a share.

    python training/studies/intervals/few_groups.py --repeats 600

Scores are normal, in groups of one to four images; half of the groups, or a fifth, are of the class.  An AUC has the
interval of the bootstrap, too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))

from clustered import World, draw_answers, draw_scores, few_groups, separation_for, true_sensitivity
from sonoforge.training.statistics.classification import auc_by_group, weighted_auc
from sonoforge.training.statistics.intervals import group_bootstrap, wilson_by_group
from sonoforge.training.statistics.one_against_rest import operating_points
from sonoforge.training.statistics.results import Interval

TRUE = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)


def cell(found: list[Interval], true: float) -> str:
    """Write the share of intervals that hold the truth, and of those above and below it, in percent."""
    above, below = (np.mean([true < own["low"] for own in found]), np.mean([true > own["high"] for own in found]))
    return f"{100 * (1 - above - below):.1f} ({100 * above:.1f} / {100 * below:.1f})"


def main() -> None:
    """Print a row for each number of groups, share of the class, correlation and true figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=600, help="simulated data sets of each figure")
    repeats = range(parser.parse_args().repeats)
    print("| groups | of the class | correlation | true | AUC: bootstrap | AUC: reported | share | sensitivity |")
    print("|---" * 8 + "|")
    for count in (30, 60, 200):
        for prevalence in (0.5, 0.2):
            for correlation in (0.0, 0.3):
                for true in TRUE:
                    rng, arms, sizes = np.random.default_rng(1), (separation_for(true),) * 2, few_groups(count)
                    drawn = [draw_scores(arms, correlation, rng, sizes, prevalence) for _ in repeats]
                    areas = [
                        [group_bootstrap(weighted_auc, one.positive, one.arms[0], one.groups) for one in drawn],
                        [auc_by_group([(one.positive, one.arms[0])], one.groups) for one in drawn],
                    ]
                    world = World(sizes, correlation, slope=0)
                    shares = [wilson_by_group(*draw_answers(world, true, rng)) for _ in repeats]
                    points = [operating_points(one.positive, one.arms[0], one.folds, one.groups)[0] for one in drawn]
                    at = [point["sensitivity"] for point in points]
                    cells = [cell(found, true) for found in (*areas, shares)]
                    cells.append(cell(at, true_sensitivity(arms[0], 0.9)))
                    print(f"| {count} | {prevalence} | {correlation} | {true} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
