"""Simulate the smallest gain that a paired comparison shows with 80 % power, from kept answers.

    python training/studies/power/simulate.py # ten minutes of one core; writes the table that the program reads

Each simulated comparison draws whole groups, with replacement, from a kept comparison of two arms.  In half of the
groups the arms change places, so that neither is better but as many answers differ, in as many groups, as they did. A
true gain is then imposed: in a random share of the groups, all wrong answers of the second arm become right.  The gain
counts as shown by the program's own rule, `verdict.judge`: the interval of the difference excludes zero and the
sign-flip test by group gives p below 0.05.  Both are computed here for many comparisons at once; a test compares them
with the program's.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

sys.path.insert(0, str(Path(__file__).parents[1]))

from kept import ANSWERS

from sonoforge.runtime.csv_tables import csv_text
from sonoforge.training.statistics.intervals import LEVEL, PERCENTILES, POWER, group_weights
from sonoforge.training.statistics.predictions import Predictions, read_predictions
from sonoforge.training.statistics.smallest_gain import TABLE, Gain

Floats = NDArray[np.float64]
KEPT = Path(__file__).parent / "answers" / "smallest-gains.csv"
GROUPS = (20, 30, 50, 80, 120, 200, 350, 600, 1000, 2000)
IMAGES_PER_GROUP = (1.0, 1.5, 2.0)
FEWEST = 100
"""Kept groups that the draws must rest on, as an effective number (1 over the sum of the squared chances)."""
REPEATS = 2000
STEPS = 10
"""Halvings of the range in which the gain is searched."""


class Source(NamedTuple):
    """Kept comparisons of one kind of images."""

    file: str
    pairs: Sequence[tuple[str, str]]  # arms: real images, then with images added


SOURCES = {
    "BUSI, three classes": Source("arms-dcgan-64.csv.gz", [("real", "gan"), ("real", "duplicates")]),
    "BUSI, a quarter trained on": Source(
        "arms-dcgan-64.csv.gz", [("real@0.25", "gan@0.25"), ("real@0.25", "duplicates@0.25")]
    ),
    "cervical cells, four classes": Source("cells.csv.gz", [("real", "gan-all"), ("real", "duplicates-all")]),
    "mammograms, two classes": Source("mammograms-sealed.csv.gz", [("real", "gan-all"), ("real", "duplicates-all")]),
    "BrEaST, three classes": Source("first-weights-breast.csv.gz", [("imagenet-100", "imagenet-170")]),
    "three collections, each left out": Source("left-out-2.csv.gz", [("none", "copies"), ("none", "pairs")]),
}


class Answers(NamedTuple):
    """The groups (G,) of a kept comparison: how many images, and how many each arm answered rightly."""

    size: Floats
    first: Floats
    second: Floats

    @property
    def wrong(self) -> float:
        """Share of wrong answers, of both arms."""
        return 1 - float((self.first + self.second).sum() / (2 * self.size.sum()))


def kept_parts(source: Source) -> list[tuple[Predictions, Predictions]]:
    """The comparisons of each pair of arms, one a seed, on the same images in the same order."""
    by_name = {(part.arm, part.seed): part for part in read_predictions(ANSWERS[source.file])[0]}
    return [
        (by_name[arm, seed], by_name[other, seed].in_order_of(by_name[arm, seed]))
        for arm, other in source.pairs
        for name, seed in by_name
        if name == other
    ]


def kept_answers(source: Source) -> list[Answers]:
    """The groups of each of `kept_parts`."""
    found = []
    for first, second in kept_parts(source):
        inverse = np.unique(first.groups, return_inverse=True)[1]
        right = [np.bincount(inverse, weights=part.predicted == part.labels) for part in (first, second)]
        found.append(Answers(np.bincount(inverse).astype(float), *right))
    return found


def chances(size: Floats, mean: float) -> Floats | None:
    """Chance of drawing each group (G,), so that a group has this many images in the mean; None if too few have.

    Groups are as likely as in the kept answers but for a factor exp(a * size).
    """
    if mean == size.min():
        own = (size == mean).astype(float)
        return own / own.sum()

    def tilted(slope: float) -> Floats:
        factors = np.exp(slope * (size - size.mean()))
        chance: Floats = factors / factors.sum()
        return chance

    if not size.min() < mean < size.max():
        return None
    found = tilted(float(optimize.brentq(lambda slope: tilted(slope) @ size - mean, -20.0, 20.0)))
    return found if 1 / (found @ found) >= FEWEST else None


class Drawn(NamedTuple):
    """Simulated comparisons without a true gain, (R, n) groups each."""

    size: Floats
    first: Floats
    second: Floats
    place: Floats  # below t: with a gain, wrong answers of the second arm become right here
    wrong: float  # share of images that the second arm answers wrongly, in the long run

    def differences(self, gain: float) -> Floats:
        """Surplus of right answers of the second arm in each group (R, n), with a true gain in accuracy."""
        turned = self.place < gain / self.wrong
        return self.second - self.first + turned * (self.size - self.second)


def draw(kept: Sequence[Answers], groups: int, mean: float, rng: np.random.Generator, repeats: int) -> Drawn | None:
    """Draw groups from the kept comparisons, each of which serves for as many simulated ones."""
    parts, wrong = [], []
    for own in kept:
        chance = chances(own.size, mean)
        if chance is None:
            return None
        place = rng.choice(len(own.size), (-(-repeats // len(kept)), groups), p=chance)
        swapped = rng.random(place.shape) < 1 / 2
        first, second = own.first[place], own.second[place]
        parts.append((own.size[place], np.where(swapped, second, first), np.where(swapped, first, second)))
        wrong.append(1 - float(chance @ (own.first + own.second) / (2 * chance @ own.size)))
    size, first, second = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Drawn(size, first, second, rng.random(size.shape), float(np.mean(wrong)))


def intervals_low(differences: Floats, size: Floats) -> Floats:
    """Lower ends (R,) of `intervals.paired_bootstrap` of the accuracies."""
    weights = _weights(differences.shape[1])
    low: Floats = np.percentile((weights @ differences.T) / (weights @ size.T), PERCENTILES[0], axis=0)
    return low


@functools.cache
def _weights(groups: int) -> Floats:
    return group_weights(np.arange(groups))[1:]


def p_values(differences: Floats) -> Floats:
    """Two-sided p values (R,) of `intervals.sign_flip_test`, by the characteristic function of the sum."""
    steps = np.abs(differences).astype(int)
    counts = np.stack([(steps == step).sum(axis=1) for step in range(1, steps.max() + 1)], axis=1)
    reach = steps.sum(axis=1)
    points = 2 ** int(np.ceil(np.log2(2 * reach.max() + 2)))
    angles = 2 * np.pi * np.arange(points // 2 + 1) / points
    law = np.ones((len(steps), len(angles)))
    for step, count in enumerate(counts.T, 1):
        law *= np.cos(step * angles)[None, :] ** count[:, None]
    sums = np.minimum(np.arange(points), points - np.arange(points))
    beyond = sums >= np.abs(differences.sum(axis=1)).round()[:, None]
    found: Floats = (np.fft.irfft(law, points) * beyond).sum(axis=1)
    return np.minimum(found, 1.0)


def shown(drawn: Drawn, gain: float) -> float:
    """Share of the comparisons that `verdict.judge` calls better."""
    found = []
    for rows in np.array_split(np.arange(len(drawn.size)), max(1, drawn.size.size // 1_000_000)):
        part = drawn._replace(**{name: getattr(drawn, name)[rows] for name in ("size", "first", "second", "place")})
        differences = part.differences(gain)
        found.append((p_values(differences) < LEVEL) & (intervals_low(differences, part.size) > 0))
    return float(np.mean(np.concatenate(found)))


def smallest(drawn: Drawn) -> float:
    """The gain shown in 80 % of the comparisons; infinite if even a second arm without errors is shown less often."""
    low, high = 0.0, drawn.wrong
    if shown(drawn, high) < POWER:
        return float("inf")
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if shown(drawn, middle) >= POWER else (middle, high)
    return high


def rows(sources: Iterable[str], groups: Sequence[int], repeats: int) -> Iterable[tuple[str, float, int, float]]:
    """Smallest gains by source, images per group and groups."""
    for name in sources:
        kept = kept_answers(SOURCES[name])
        for mean in IMAGES_PER_GROUP:
            for count in groups:
                drawn = draw(kept, count, mean, np.random.default_rng(0), repeats)
                if drawn is not None:
                    yield name, mean, count, smallest(drawn)


def typical(raw: Iterable[tuple[str, float, int, float]]) -> list[tuple[object, ...]]:
    """Rows of the program's table: least, median and most over the sources, by images per group and groups."""
    found: dict[tuple[float, int], list[float]] = {}
    for _, mean, count, gain in raw:
        found.setdefault((mean, count), []).append(gain)
    made: list[tuple[object, ...]] = [("images per group", "groups", *Gain._fields)]
    for (mean, count), gains in sorted(found.items()):
        known = [min(gains), float(np.median(gains)), max(gains)]
        made.append((mean, count, *(cell(gain) for gain in known)))
    return made


def cell(gain: float) -> str:
    """A gain as it is kept: empty if there is none."""
    return f"{gain:.4f}" if np.isfinite(gain) else ""


def main() -> None:
    """Write the gains of each source, and the program's table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=REPEATS, help="simulated comparisons of each gain")
    parser.add_argument("--out", type=Path, default=KEPT, help="the gains of each source")
    parser.add_argument("--table", type=Path, default=TABLE, help="what the program reads")
    given = parser.parse_args()
    raw = []
    for name, mean, count, gain in rows(SOURCES, GROUPS, given.repeats):
        raw.append((name, mean, count, round(gain, 4)))
        print(name, mean, count, cell(gain), flush=True)
    head = ("source", "images per group", "groups", "gain")
    given.out.write_text(csv_text([head, *((*own, cell(gain)) for *own, gain in raw)]), encoding="utf-8")
    given.table.write_text(csv_text(typical(raw)), encoding="utf-8")


if __name__ == "__main__":
    main()
