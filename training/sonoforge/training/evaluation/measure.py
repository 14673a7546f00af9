"""Every figure of one evaluation: on the full sets, matched, its floor, and the ratio of the two.

One mechanism serves all figures (`distances.halves`): half of the real images against the same number of generated
ones, and against the other half of the real images.  All figures see the same halves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.distances.halves import draw_halves, summarise
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.results import MetricRow, Unmeasured
from sonoforge.training.evaluation.tasks import Figure, Task
from sonoforge.training.progress import is_shown, progress_bar

SLOW = 10  # what costs seconds is repeated on a tenth of the halves
FEWEST_REPEATS = 5


def measure_all(tasks: Sequence[Task], repeats: int, seed: int) -> tuple[list[MetricRow], list[Unmeasured]]:
    """Take the figures of all tasks, with a progress bar, and list what the images do not allow to measure."""
    rows: list[MetricRow] = []
    left_out: list[Unmeasured] = []
    done = 0
    with progress_bar("measuring", sum(rounds(task, repeats) for task in tasks), show=is_shown()) as advance:

        def tick(title: str) -> None:
            nonlocal done
            done += 1
            advance(done, title)

        for task in tasks:
            try:
                rows += measure(task, repeats, seed, tick)
            except SonoforgeError as error:
                names = " and ".join(figure.title for figure in task.figures)
                left_out.append({"name": f"{names} in {task.space}", "why": str(error)})
    return rows, left_out


def rounds(task: Task, repeats: int) -> int:
    """Return the number of pairs of halves that a task is repeated on."""
    return max(FEWEST_REPEATS, repeats // SLOW) if task.slow else repeats


def matched_size(groups: NDArray[np.int64], fakes: int, repeats: int, seed: int) -> int:
    """Return n, the number of images per set of all matched values and floors."""
    return min(len(first) for first, _, _ in draw_halves(groups, fakes, repeats, seed))


def measure(task: Task, repeats: int, seed: int, tick: Callable[[str], None] = lambda title: None) -> list[MetricRow]:
    """Take the figures of one task on the full sets, then on halves; call ``tick`` with a title after each pair.

    Raises:
        SonoforgeError: Too few images for this figure, on the full sets or on halves.
    """
    full = task.whole(task.fake, task.real) if task.whole else None
    if full is None:
        full = [(value, None, "") for value in task.function(task.fake, task.real)]
    matched, floor, size = [], [], 0
    for first, second, fakes in draw_halves(task.real.groups, len(task.fake.rows), rounds(task, repeats), seed):
        size = len(first)
        half = task.real.take(first)
        matched.append(task.function(task.fake.take(fakes), half))
        floor.append(task.function(task.real.take(second), half))
        tick(task.figures[0].title)
    return [
        _row(figure, task.space, own, size, [values[index] for values in matched], [values[index] for values in floor])
        for index, (figure, own) in enumerate(zip(task.figures, full, strict=True))
    ]


def _row(
    figure: Figure,
    space: str,
    full: tuple[float, float | None, str],
    size: int,
    matched: list[float],
    floor: list[float],
) -> MetricRow:
    value, standard_error, note = full
    measured = summarise(value, matched, floor, more_is_better=figure.better == "high")
    ratios = [measured.ratio]
    if figure.better == "near":
        ratios.append(summarise(value, matched, floor, more_is_better=True).ratio)
    known = [ratio for ratio in ratios if ratio is not None]
    row: Any = {
        **figure._asdict(),
        "space": space,
        **measured._asdict(),
        "ratio": max(known, default=None),
        "standard_error": standard_error,
        "n": size,
        "repeats": len(matched),
        "note": note,
    }
    found: MetricRow = row
    return found
