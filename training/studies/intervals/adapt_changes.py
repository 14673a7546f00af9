"""How often the interval of a change that `adapt` states holds the change on fresh scans, from kept answers.

    python training/studies/intervals/adapt_changes.py --draws 300

Patients of a collection that the network has not seen are drawn with replacement; fresh scans are the collection's.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "few-labels"))

from kept import ANSWERS
from tables import AIM, COUNTS, LeftOut, left_out

from sonoforge.runtime.inference import adaptation


def held(own: LeftOut, count: int, draws: int) -> dict[str, list[float]]:
    """Whether each figure's interval held the change on all scans of the classes drawn; nan if too few to tell."""
    rng, found = np.random.default_rng(5), defaultdict(list)
    patients = np.unique(own.groups)
    for _ in range(draws):
        scans = [np.flatnonzero(own.groups == patient) for patient in rng.choice(patients, count)]
        drawn, groups = np.concatenate(scans)[:count], np.repeat(np.arange(count), [*map(len, scans)])[:count]
        equal, labels, start = own.equal[drawn], own.labels[drawn], own.rules
        crossed = adaptation.cross_fitted(equal, labels, groups, start)
        stated = adaptation.compare(adaptation.decide_all(equal, start), crossed, labels, groups, (start, AIM))
        fresh = np.isin(own.labels, labels)
        before, after = (
            adaptation.figures(adaptation.decide_all(own.equal[fresh], rules), own.labels[fresh], rules, AIM)
            for rules in (start, adaptation.fit_rules(equal, labels, start))
        )
        for name, row in stated.items():
            _, low, high = row.change
            if not np.isnan(row.before):
                true = after[name].mean() - before[name].mean()
                found[name].append(np.nan if np.isnan(low) else float(low <= true <= high))
    return found


def main() -> None:
    """Print a row for each figure and number of scans: the range over collections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=300, help="draws of each collection and number of scans")
    draws = parser.parse_args().draws
    print("| figure | scans | interval holds, % | too few to tell, % |\n|---|---|---|---|")
    collections = left_out(ANSWERS["left-out.csv.gz"])
    for count in COUNTS:
        each = [held(own, count, draws) for own in collections]
        for name in each[0]:
            told = [np.array(own[name]) for own in each if own[name]]
            shares = [100 * np.nanmean(own) for own in told if (~np.isnan(own)).sum() >= draws / 4]
            few = [100 * np.isnan(own).mean() for own in told]
            spread = f"{min(shares):.0f} to {max(shares):.0f}" if shares else "-"
            print(f"| {name} | {count} | {spread} | {min(few):.0f} to {max(few):.0f} |", flush=True)


if __name__ == "__main__":
    main()
