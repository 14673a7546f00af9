"""Coverage of the group bootstrap of AUC, sensitivity at a fixed specificity, net benefit, and of their differences.

    python training/studies/intervals/one_against_rest.py [DATASETS]

Scores are simulated in BUSI's groups; their true figures follow from the normal law.  Prints the table of
``training/docs/evidence.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))

from clustered_scores import KINDS, coverage


def main() -> None:
    """Print one line for each kind of figure and correlation."""
    datasets = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for correlation in (0.0, 0.6):
        covered = coverage(datasets, correlation, np.random.default_rng(0))
        for kind in KINDS:
            print(f"| {kind} | {correlation} | {100 * np.mean(covered[kind]):.1f} |", flush=True)


if __name__ == "__main__":
    main()
