"""Every figure of one evaluation: on the full sets, matched, its floor, and the ratio of the two.

One mechanism serves all figures (`distances.halves`): half of the real images against the same number of generated
ones, and against the other half of the real images.  All figures see the same halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.distances.fid import frechet_distance
from sonoforge.runtime.distances.halves import draw_halves, summarise
from sonoforge.runtime.distances.kid import kernel_distance, subset_kernel_distance
from sonoforge.runtime.distances.laplacian import laplacian_swd, level_sides
from sonoforge.runtime.distances.neighbours import density_coverage, precision_recall
from sonoforge.runtime.distances.sliced import sliced_wasserstein
from sonoforge.training.evaluation.results import MetricRow
from sonoforge.training.metrics.inception_score import inception_score, recommended_splits
from sonoforge.training.metrics.linear_probe import linear_probe
from sonoforge.training.metrics.ms_ssim import mean_ms_ssim, scale_weights

METRICS = (
    *("kid", "fid", "swd", "precision-recall", "density-coverage", "probe", "inception-score"),
    *("ms-ssim", "lpips", "copies"),
)
"""What ``--metrics`` takes."""
KID_SUBSETS, KID_SUBSET_SIZE = 100, 100  # of few images; published figures have 100 subsets of 1000
PAIRS = 200  # that MS-SSIM is averaged over
SLOW = 10  # what costs seconds is repeated on a tenth of the halves
FEWEST_REPEATS = 5


class Figure(NamedTuple):
    """How one figure is read.

    Attributes:
        name: In ``results.json``.
        title: For people.
        question: Which it answers: ``realistic`` or ``diverse``.
        better: ``low``, ``high``, or ``near`` the real images' own.
    """

    name: str
    title: str
    question: str
    better: str


class Part(NamedTuple):
    """Some images of one set, as one kind of numbers.

    Attributes:
        rows: (N, ...) embeddings, class probabilities, pixels, or indices into a table of distances.
        groups: (N,) near-duplicate group of each image; real and generated images share none.
    """

    rows: NDArray[Any]
    groups: NDArray[np.int64]

    def take(self, indices: NDArray[np.intp]) -> Part:
        """Return some of the images."""
        return Part(self.rows[indices], self.groups[indices])


class Task(NamedTuple):
    """One call that gives one or more figures, and where it looks.

    Attributes:
        figures: What ``function`` returns, in its order.
        space: Name of the feature space with its weights; ``pixels`` for the images as they are.
        fake: The generated images.
        real: The real images.
        function: Takes generated and real images; a figure of one set alone is of the first.
        slow: Whether it costs seconds.
        whole: Figures on the full sets where they are taken by another protocol: value, standard error, note.
    """

    figures: tuple[Figure, ...]
    space: str
    fake: Part
    real: Part
    function: Callable[[Part, Part], tuple[float, ...]]
    slow: bool = False
    whole: Callable[[Part, Part], list[tuple[float, float | None, str]]] | None = None


def embedding_tasks(space: str, fake: Part, real: Part, seed: int) -> dict[str, Task]:
    """List what is measured on embeddings (N, D) in one feature space, by metric.

    Args:
        space: Its name.
        fake: Embeddings of the generated images.
        real: Embeddings of the real ones.
        seed: Of subsets, projections and folds.
    """

    def subsets(f: Part, r: Part) -> list[tuple[float, float | None, str]]:
        size = min(KID_SUBSET_SIZE, len(f.rows), len(r.rows))
        published = subset_kernel_distance(f.rows, r.rows, space, KID_SUBSETS, size, seed)
        note = f"mean of {KID_SUBSETS} subsets of {size}, their standard error {published.standard_error:.2g}"
        if min(len(f.rows), len(r.rows)) < 3:
            return [(published.value, None, note)]
        # The subsets are of the same images; by how much other images would move the value, the jackknife says.
        whole = kernel_distance(f.rows, r.rows, space)
        return [(published.value, whole.standard_error, f"{note}; whole sets {whole.value:.4g}, ± by the jackknife")]

    def probe(f: Part, r: Part) -> tuple[float, ...]:
        return (linear_probe(f.rows, r.rows, r.groups, space, f.groups, seed).auc,)

    def probe_whole(f: Part, r: Part) -> list[tuple[float, float | None, str]]:
        found = linear_probe(f.rows, r.rows, r.groups, space, f.groups, seed)
        return [(found.auc, None, f"95 % interval [{found.low:.3f}, {found.high:.3f}]; 0.5 cannot be told apart")]

    return {
        "kid": Task(
            (Figure("kid", "KID", "realistic", "low"),),
            space, fake, real,
            lambda f, r: (kernel_distance(f.rows, r.rows, space).value,),
            whole=subsets,
        ),
        "fid": Task(
            (Figure("fid", "FID", "realistic", "low"),),
            space, fake, real,
            lambda f, r: (frechet_distance(f.rows, r.rows, space).value,),
        ),
        "probe": Task(
            (Figure("linear_probe", "Linear probe, AUC", "realistic", "low"),),
            space, fake, real, probe, whole=probe_whole,
        ),
        "precision-recall": Task(
            (Figure("precision", "Precision", "realistic", "high"), Figure("recall", "Recall", "diverse", "high")),
            space, fake, real,
            lambda f, r: tuple(precision_recall(f.rows, r.rows)),
        ),
        "density-coverage": Task(
            (Figure("density", "Density", "realistic", "high"), Figure("coverage", "Coverage", "diverse", "high")),
            space, fake, real,
            lambda f, r: tuple(density_coverage(f.rows, r.rows)),
        ),
        "swd": Task(
            (Figure("sliced_wasserstein", "Sliced Wasserstein", "realistic", "low"),),
            space, fake, real,
            lambda f, r: (sliced_wasserstein(f.rows, r.rows, seed=seed),),
            slow=True,
        ),
    }  # fmt: skip


def score_task(space: str, fake: Part, real: Part, seed: int) -> Task:
    """Describe the Inception Score of class probabilities (N, K)."""
    splits = recommended_splits(min(len(fake.rows), len(real.rows)) // 2)
    classes = fake.rows.shape[1]

    def whole(f: Part, r: Part) -> list[tuple[float, float | None, str]]:
        found = inception_score(f.rows, space, recommended_splits(len(f.rows)), seed)
        return [(found.value, None, f"{found.splits} split{'s' * (found.splits > 1)}, {classes} classes")]

    return Task(
        (Figure("inception_score", "Inception Score", "diverse", "high"),),
        space,
        fake,
        real,
        lambda f, r: (inception_score(f.rows, space, splits, seed).value,),
        whole=whole,
    )


def pixel_tasks(fake: Part, real: Part, seed: int) -> dict[str, Task]:
    """List what is measured on the images (N, S, S, C) uint8 themselves, by metric."""
    side = fake.rows.shape[1]
    levels = level_sides(side)

    def pyramid(f: Part, r: Part) -> tuple[float, ...]:
        found = laplacian_swd(f.rows, r.rows, seed)
        return (float(np.mean(list(found.values()))), *found.values())

    def whole(f: Part, r: Part) -> list[tuple[float, float | None, str]]:
        found = mean_ms_ssim(f.rows, PAIRS, seed)
        return [(found.value, found.standard_error, f"{found.pairs} pairs, {found.scales} scales")]

    return {
        "swd": Task(
            (
                Figure("laplacian_swd", "SWD x 1000, mean of levels", "realistic", "low"),
                *(Figure(f"laplacian_swd_{s}", f"SWD x 1000, {s} px", "realistic", "low") for s in levels),
            ),
            "pixels", fake, real, pyramid, slow=True,
        ),
        "ms-ssim": Task(
            (Figure("ms_ssim", f"MS-SSIM of pairs, {len(scale_weights(side))} scales", "diverse", "near"),),
            "pixels", fake, real,
            lambda f, r: (mean_ms_ssim(f.rows, PAIRS, seed).value,),
            slow=True,
            whole=whole,
        ),
    }  # fmt: skip


def lpips_task(name: str, distances: NDArray[np.float32], fake: Part, real: Part) -> Task:
    """Describe LPIPS between generated images, and from each to its nearest real one.

    Args:
        name: Of the network.
        distances: (K, K) LPIPS between all images of both sets.
        fake: Indices of the generated images into ``distances``.
        real: Indices of the real ones.
    """

    def function(f: Part, r: Part) -> tuple[float, ...]:
        nearest = distances[np.ix_(f.rows, r.rows)].min(1).mean()
        pairs = distances[np.ix_(f.rows, f.rows)].sum() / (len(f.rows) * (len(f.rows) - 1))
        return float(nearest), float(pairs)

    figures = (
        Figure("nearest_lpips", "LPIPS to the nearest real", "realistic", "low"),
        Figure("lpips_pairs", "LPIPS of pairs", "diverse", "near"),
    )

    def whole(f: Part, r: Part) -> list[tuple[float, float | None, str]]:
        note = f"{len(f.rows)} generated and {len(r.rows)} real images"
        return [(value, None, note) for value in function(f, r)]

    return Task(figures, name, fake, real, function, whole=whole)


def rounds(task: Task, repeats: int) -> int:
    """How many pairs of halves a task is repeated on."""
    return max(FEWEST_REPEATS, repeats // SLOW) if task.slow else repeats


def matched_size(groups: NDArray[np.int64], fakes: int, repeats: int, seed: int) -> int:
    """Return n, the number of images a side of all matched values and floors."""
    return min(len(first) for first, _, _ in draw_halves(groups, fakes, repeats, seed))


def measure(task: Task, repeats: int, seed: int) -> Iterator[list[MetricRow]]:
    """Take the figures on the full sets, then on halves.

    Args:
        task: What to measure.
        repeats: Pairs of halves.
        seed: Of the halves.

    Yields:
        Nothing (an empty list) after each round, for a progress bar; at the end one row for each figure.

    Raises:
        SonoforgeError: Too few images for this figure, on the full sets or on halves.
    """
    full = task.whole(task.fake, task.real) if task.whole else None
    if full is None:
        full = [(value, None, "") for value in task.function(task.fake, task.real)]
    matched, floor, size = [], [], 0
    for first, second, fakes in draw_halves(task.real.groups, len(task.fake.rows), rounds(task, repeats), seed):
        size = len(first)
        some = task.real.take(first)
        matched.append(task.function(task.fake.take(fakes), some))
        floor.append(task.function(task.real.take(second), some))
        yield []
    yield [
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
