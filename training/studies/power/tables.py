"""Tables of the smallest gain: what was simulated, McNemar's exact power, and what kept comparisons state."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from kept import answers, read, table
from scipy import optimize, stats

sys.path.insert(0, str(Path(__file__).parent))

from simulate import KEPT, SOURCES, Answers, kept_answers, kept_parts

from sonoforge.training.statistics.intervals import LEVEL, POWER, minimum_detectable_difference
from sonoforge.training.statistics.smallest_gain import TABLE, smallest_gain


def mcnemar_gain(kept: list[Answers], groups: int) -> float:
    """The gain that McNemar's exact test shows with 80 % power on this many independent images.

    The comparisons' single images give how often one arm alone is right, and how often none is; a gain is imposed as in
    the simulation.
    """
    single = [Answers(*(column[own.size == 1] for column in own)) for own in kept]
    differing = [float((own.first != own.second).mean()) for own in single]
    wrong = float(np.mean([own.wrong for own in single]))
    none = [float((own.first + own.second == 0).mean()) for own in single]
    counts = np.arange(groups + 1)
    # The fewest right answers of the second arm, among the images where one alone is right, that the test calls better.
    needed = stats.binom.isf(LEVEL / 2, counts, 0.5) + 1

    def power(gain: float) -> float:
        found = []
        for apart, both in zip(differing, none, strict=True):
            first, second = apart / 2 * (1 - gain / wrong), apart / 2 + both * gain / wrong
            shown = stats.binom.sf(needed - 1, counts, second / (first + second))
            found.append(float(stats.binom.pmf(counts, groups, first + second) @ shown))
        return float(np.mean(found)) - POWER

    return float(optimize.brentq(power, 0.0, wrong)) if power(wrong) > 0 else float("inf")


def cell(gain: float) -> str:
    return f"{100 * gain:.1f}" if np.isfinite(gain) else "-"


def gains() -> str:
    """By source on single images, beside McNemar's; then the rows that the program reads."""
    rows = read(KEPT)
    groups = list(dict.fromkeys(row["groups"] for row in rows))
    simulated = {(r["source"], r["images per group"], r["groups"]): float(r["gain"] or "inf") for r in rows}
    single = [
        [name, *(f"{cell(simulated[name, '1.0', count])} ({cell(mcnemar_gain(kept, int(count)))})" for count in groups)]
        for name, kept in ((name, kept_answers(source)) for name, source in SOURCES.items())
    ]
    read_by_program = [
        [f"**{mean} images a group**, median (least to most)"]
        + [
            f"**{cell(float(row['typical'] or 'inf'))}** ({cell(float(row['least'] or 'inf'))} to "
            f"{cell(float(row['most'] or 'inf'))})"
            for row in read(TABLE)
            if row["images per group"] == mean
        ]
        for mean in ("1.0", "1.5", "2.0")
    ]
    return f"{answers(KEPT.name)}\n{table(['points of accuracy; groups', *groups], single + read_by_program)}"


def stated() -> str:
    """What each source's comparisons state after the fact, beside what was said of such a set before."""
    rows = []
    for name, source in SOURCES.items():
        found = []
        for first, second in kept_parts(source):
            right = [part.predicted == part.labels for part in (first, second)]
            found.append(minimum_detectable_difference(*right, first.groups))
        groups, images = len(np.unique(first.groups)), len(first.files)
        said = smallest_gain(groups, images)
        after = f"{cell(min(found))} to {cell(max(found))}"
        rows.append([name, images, groups, f"{cell(said.typical)} ({cell(said.least)} to {cell(said.most)})", after])
    return table(["kept comparison", "images", "groups", "said before training, points", "stated after it"], rows)


TABLES = {"gains": gains, "stated": stated}
