"""Measure every figure of an evaluation: on the full sets, matched, its floor, and the ratio of the two.

Figures may be compared only if their protocol is equal: plain JSON without free text such as paths. The number of
images, the resize filter, the network and the real images move FID and similar metrics more than generators differ
(Parmar, Zhang, Zhu, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", CVPR 2022; Chong, Forsyth,
"Effectively Unbiased FID and Inception Score and Where to Find Them", CVPR 2020).

One mechanism serves all figures (`distances.halves`): half of the real images against the same number of generated
ones, and against the other half of the real images.  All figures see the same halves.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sonoforge.runtime.atomic import plain
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.distances.halves import Indices, draw_halves, summarise
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.copies.generated import find_copies
from sonoforge.training.copies.nearest_training import Nearest, data_copying, nearest_training
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.devices import one_thread
from sonoforge.training.evaluation.image_set import HeldOut, ImageSet
from sonoforge.training.evaluation.lpips import Lpips
from sonoforge.training.evaluation.metrics import EmbeddedSets, Figure, Task, Value, list_tasks, metric_settings
from sonoforge.training.evaluation.spaces import Embedded, Space, embed_cached
from sonoforge.training.progress import as_done
from sonoforge.training.run_folder import package_versions
from sonoforge.training.statistics.results import Record

log = logging.getLogger(__name__)

SLOW = 10  # metrics that cost seconds are repeated on a tenth of the halves
FEWEST_REPEATS = 5


Protocol = dict[str, Any]

_PACKAGES = ("sonoforge", "numpy", "pillow", "torch", "onnxruntime")
_ID = 16  # hex digits: 64 bits


@dataclass(frozen=True, eq=False)
class EvaluationProtocol:
    """How sets are measured."""

    metrics: tuple[str, ...]  # of `evaluate --metrics`, without the copy test
    spaces: Sequence[Space]
    lpips: Lpips | None
    repeats: int  # halves for floors and intervals
    seed: int  # of all draws
    cache_folder: Path | None  # of embeddings; see `spaces.embed_cached`

    def describe(self, real: ImageSet, fakes: int) -> Protocol:
        """Return what figures of this many generated images against these real ones depend on.

        Raises:
            SonoforgeError: There are too few images for two halves.
        """
        side, channels = real.pixels.shape[2:]
        values = {
            "number of real images": len(real),
            "number of generated images": fakes,
            "image size": side,
            "channels": channels,
            "resize of real images": real.resize,
            "matched": min(len(first) for first, *_ in draw_halves(real.groups, fakes, self.repeats, self.seed)),
            "repeats": self.repeats,
            "seed": self.seed,
            "real images": real.fingerprint,
            "real groups": hashlib.sha256(real.groups.astype("<i8").tobytes()).hexdigest()[:_ID],
            "spaces": [dict(space.protocol) for space in self.spaces],
            **metric_settings(self.lpips),
            # Without the part after a plus sign: CPU and GPU builds of torch are one version.
            "versions": {name: found.partition("+")[0] for name, found in package_versions(_PACKAGES).items()},
        }
        protocol: Protocol = plain(values)
        return protocol


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """Return 16 hex digits that are equal for equal protocols."""
    return hashlib.sha256(json.dumps(plain(protocol), sort_keys=True).encode()).hexdigest()[:_ID]


def measure_sets(evaluation: EvaluationProtocol, real: ImageSet, fake: ImageSet) -> tuple[list[Record], list[Record]]:
    """Embed both sets in every space and measure every figure with its floor, showing progress.

    Returns:
        The figures, and what could not be measured.
    """
    pixels, cache = (real.pixels, fake.pixels), evaluation.cache_folder
    embedded = [EmbeddedSets(space.short_name, *embed_both(space, *pixels, cache)) for space in evaluation.spaces]
    tasks, unavailable = list_tasks(evaluation.metrics, real, fake, embedded, evaluation.lpips, evaluation.seed)
    rows, failed = measure_all(tasks, evaluation.repeats, evaluation.seed)
    return rows, [*unavailable, *failed]


def embed_both(space: Space, real: Pixels, fake: Pixels, cache: Path | None) -> tuple[Embedded, Embedded]:
    """Embed two sets (N, S, S, C) in one space, through the cache and with a progress bar."""
    log.info("features: %s", space.name)
    with progress_bar("embedding", len(real) + len(fake)) as advance:
        first = embed_cached(space, real, cache, advance)
        return first, embed_cached(space, fake, cache, lambda done, state: advance(len(real) + done, state))


def measure_all(tasks: Sequence[Task], repeats: int, seed: int) -> tuple[list[Record], list[Record]]:
    """Measure all tasks, with a progress bar; list those with too few images."""
    rows: list[Record] = []
    left_out: list[Record] = []
    done = 0
    count = sum(rounds(task, repeats) for task in tasks)
    # The halves are shared out among threads: sharing out small products as well would take ten times as long.
    with one_thread(), threadpool_limits(1, "blas"), progress_bar("measuring", count) as advance:

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
    """Return how many pairs of halves to repeat a task on."""
    return max(FEWEST_REPEATS, repeats // SLOW) if task.slow else repeats


def measure(task: Task, repeats: int, seed: int, tick: Callable[[str], None] = lambda title: None) -> list[Record]:
    """Measure one task on the full sets, then on halves; call ``tick`` with a title after each pair.

    Raises:
        SonoforgeError: There are too few images for this metric, on the full sets or on halves.
    """
    full = task.function(task.fake, task.real, True)
    halves = list(draw_halves(task.real.groups, len(task.fake.rows), rounds(task, repeats), seed))

    def compare(drawn: tuple[Indices, Indices, Indices]) -> tuple[Sequence[Value], Sequence[Value]]:
        first, second, fakes = drawn
        half = task.real.take(first)
        return task.function(task.fake.take(fakes), half, False), task.function(task.real.take(second), half, False)

    pairs = []
    for pair in as_done(compare, halves):
        pairs.append(pair)
        tick(task.figures[0].title)
    size = len(halves[-1][0])
    rows = []
    for index, (figure, own) in enumerate(zip(task.figures, full, strict=True)):
        matched, floor = ([pair[side][index].value for pair in pairs] for side in (0, 1))
        rows.append(_row(figure, task.space, own, size, matched, floor))
    return rows


def _row(figure: Figure, space: str, full: Value, size: int, matched: list[float], floor: list[float]) -> Record:
    measured = summarise(full.value, matched, floor, more_is_better=figure.better == "high")
    ratios = [measured.ratio]
    if figure.better == "near":
        ratios.append(summarise(full.value, matched, floor, more_is_better=True).ratio)
    return {
        **figure._asdict(),
        "space": space,
        **measured._asdict(),
        "ratio": max((ratio for ratio in ratios if ratio is not None), default=None),
        "standard_error": full.standard_error,
        "n": size,
        "repeats": len(matched),
        "note": full.note,
    }


SHOWN_COPIES, SHOWN_NEAREST = 8, 4  # generated images, and training images beside each


class TestedCopies(NamedTuple):
    """The result, and what its pictures show."""

    result: Record
    scores: tuple[NDArray[np.floating], NDArray[np.floating]]  # best match of generated and of calibrating images
    distances: tuple[NDArray[np.floating], NDArray[np.floating]]  # of both to the closest training image
    shown: NDArray[np.intp]  # generated images: copies first, then those nearest to a training image
    nearest: Nearest  # training images closest to each of those, (N, k)
    shown_scores: NDArray[np.float64]  # (N,) score of the match; 0 if the image is not a copy


def find_tested_copies(real: ImageSet, fake: ImageSet, held_out: HeldOut | None, seed: int) -> TestedCopies:
    """Run the copy test; ``seed`` draws the planted copies.

    Raises:
        SonoforgeError: There are too few groups for calibration.
    """
    if held_out is None:
        groups, calibrating = real.groups, None
    else:
        groups, calibrating = held_out.trained, (held_out.images.pixels, held_out.groups)
    found = find_copies(fake.pixels, real.pixels, groups, calibrating, seed=seed)
    distance = nearest_training(fake.pixels, real.pixels).distance[:, 0]
    others, apart = (real.pixels, groups) if calibrating is None else (calibrating[0], None)
    compared = nearest_training(others, real.pixels, groups=apart).distance[:, 0]
    score = np.where(found.best.score > found.test["threshold"], found.best.score, 0.0)
    order = np.lexsort((distance, -score))  # copies first, then those nearest to a training image
    shown, flagged = order[:SHOWN_COPIES], order[: found.test["copies"]]
    few = nearest_training(fake.pixels[shown], real.pixels, SHOWN_NEAREST)
    for row, index in enumerate(shown.tolist()):  # of a copy, the training image that it matches comes first
        if score[index] > 0:
            matched = int(found.best.training_index[index])
            kept = np.flatnonzero(few.training_index[row] != matched)[: few.training_index.shape[1] - 1]
            few.training_index[row] = [matched, *few.training_index[row, kept]]
            few.mirrored[row] = [found.best.mirrored[index], *few.mirrored[row, kept]]
            few.distance[row] = [0.0, *few.distance[row, kept]]
    result: Record = {
        **found.test,
        "data_copying_z": data_copying(distance, compared),
        "flagged": [fake.names[index] for index in flagged],
        "nearest": [real.names[found.best.training_index[index]] for index in flagged],
        "scores": score[flagged].tolist(),
        "recall": found.recall,
    }
    return TestedCopies(result, (found.best.score, found.real.score), (distance, compared), shown, few, score[shown])
