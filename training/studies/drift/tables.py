"""How often halves of one collection are called changed, and how often a month that did change."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from kept import ANSWERS, read, table
from numpy.typing import NDArray

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.jobs.drifting import Month, compare, draws_of, values_of

MANIFEST = open_bundle(None).manifest
DRAWS, FEWER = 200, 50
Whole = NDArray[np.int64]


def month(name: str) -> Month:
    """The answers of one collection, by patient."""
    rows = [row for row in read(ANSWERS["months.csv.gz"]) if row["month"] == name]
    patients = [row["patient"] or f"alone {place}" for place, row in enumerate(rows)]
    groups = np.unique(patients, return_inverse=True)[1].astype(np.int64)
    return Month(name, dict(values_of(rows, MANIFEST, {})), groups, ("", ""), {}, set())


def of(whole: Month, patients: Whole) -> Month:
    """A month with these patients, who may come twice."""
    places = [np.flatnonzero(whole.groups == patient) for patient in patients]
    groups = np.repeat(np.arange(len(places)), [len(own) for own in places])
    kept = np.concatenate(places)
    return whole._replace(values={key: own[kept] for key, own in whole.values.items()}, groups=groups)


def changed(earlier: Month, later: Month) -> bool:
    rows, _ = compare(later, draws_of(earlier, 1), MANIFEST)
    return any(row.changed for row in rows)


def share(found: Iterable[bool]) -> str:
    return f"{100 * np.mean([*found]):.1f}%"


def halves(whole: Month, count: int, regroup: Callable[[Month], Month]) -> str:
    generator, number = np.random.default_rng(0), int(whole.groups.max()) + 1
    drawn = (generator.permutation(number)[: 2 * count] for _ in range(DRAWS))
    return share(changed(*(regroup(of(whole, part)) for part in np.split(own, 2))) for own in drawn)


def by_day(whole: Month) -> Month:
    return whole._replace(groups=whole.groups % 22)


def by_scan(whole: Month) -> Month:
    return whole._replace(groups=np.arange(len(whole.groups)))


def false_alarms() -> str:
    regroup = {"patients": lambda own: own, "22 days": by_day, "each scan (wrong)": by_scan}
    heading = ["called changed, taken as independent:", *regroup]
    rows = [
        [f"{name}, twice {count} patients", *(halves(month(name), count, how) for how in regroup.values())]
        for name, count in (("BUSI", 100), ("BUS-UC", 100), ("BUS-BRA", 100), ("BUS-BRA", 250))
    ]
    return table(heading, rows)


def power() -> str:
    plain, counts = month("BUS-UC"), (50, 100, 200, 350)
    rows = [row for row in read(ANSWERS["months.csv.gz"]) if row["month"] == "BUS-UC"]
    worse = np.zeros(int(plain.groups.max()) + 1, bool)
    worse[plain.groups[[row["truth"] == "malignant" for row in rows]]] = True

    def mixed(generator: np.random.Generator, patients: Whole) -> Whole:
        """As many patients, of whom 20 points more have a malignant lesion."""
        chance = np.where(worse[patients], 1.0, 0.0)
        wanted = chance.mean() + 0.2
        weights = np.where(chance, wanted / chance.sum(), (1 - wanted) / (1 - chance).sum())
        return generator.choice(patients, len(patients), p=weights)

    def found(later: Month, count: int, mix: bool) -> str:
        generator, hits = np.random.default_rng(0), []
        for _ in range(FEWER):
            first, second = np.split(generator.permutation(int(plain.groups.max()) + 1)[: 2 * count], 2)
            hits.append(changed(of(plain, first), of(later, mixed(generator, second) if mix else second)))
        return share(hits)

    months = {
        "grey levels times 0.9": ("BUS-UC at 0.9", False),
        "grey levels times 0.8": ("BUS-UC at 0.8", False),
        "20 points more malignant": ("BUS-UC", True),
    }
    heading = ["called changed, of twice so many patients:", *counts]
    return table(
        heading, [[name, *(found(month(of_), count, mix) for count in counts)] for name, (of_, mix) in months.items()]
    )


TABLES = {"false-alarms": false_alarms, "power": power}
