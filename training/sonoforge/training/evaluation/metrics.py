"""List the metrics of an evaluation, with their functions, figures and images.

To add one, write rows of ``figures.csv`` and an entry of `embedding_tasks` (vectors) or `pixel_tasks` (pixels).
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.csv_tables import read_table
from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance, subset_kernel_distance
from sonoforge.runtime.distances.neighbours import density_coverage, precision_recall
from sonoforge.runtime.distances.sliced import laplacian_swd, level_sides, sliced_wasserstein
from sonoforge.runtime.distances.spectrum import ring_levels, spectrum_distance
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.evaluation import image_set, inception, ms_ssim, spaces
from sonoforge.training.evaluation.lpips import Lpips, distance_matrix
from sonoforge.training.statistics.results import Record

log = logging.getLogger(__name__)

KID_SUBSETS, KID_SUBSET_SIZE = 100, 100  # for few images; published figures use 100 subsets of 1000
PAIRS = 200  # that MS-SSIM is averaged over
LPIPS_IMAGES = 500  # of a set, at most: their distances to each other are held at once


class Figure(NamedTuple):
    """How to read one figure."""

    name: str  # in `results.json`
    title: str
    question: str  # that it answers: `realistic` or `diverse`
    better: str  # `low`, `high`, or `near` the value of real images


_ROWS = read_table(Path(__file__).with_name("figures.csv"), Figure._fields).rows
# What each metric returns, in the order of its function's values.
FIGURES = {
    metric: tuple(Figure(*map(row.__getitem__, Figure._fields)) for row in rows)
    for metric, rows in itertools.groupby(_ROWS, lambda row: row["metric"])
}


class Part(NamedTuple):
    """Images of one set, as one kind of numbers."""

    rows: NDArray[Any]  # (N, ...) embeddings, class probabilities, pixels, or indices into a table of distances
    groups: NDArray[np.int64]  # (N,) near-duplicate group of each image; real and generated images share none

    def take(self, indices: NDArray[np.intp]) -> Part:
        """Return the images at these indices."""
        return Part(self.rows[indices], self.groups[indices])


class Value(NamedTuple):
    """A figure; error and note are only reported for the full sets."""

    value: float
    standard_error: float | None = None
    note: str = ""


class Task(NamedTuple):
    """One call that returns one or more figures, and its images."""

    figures: tuple[Figure, ...]  # of the values that `function` returns
    space: str  # name of the feature space; `pixels` for the images themselves
    fake: Part
    real: Part
    # Takes generated and real images, and whether these are the full sets, where KID and Inception Score follow the
    # published protocol.  A figure of one set alone is measured on the first.
    function: Callable[[Part, Part, bool], Sequence[Value]]
    slow: bool = False  # whether it costs seconds


def embedding_tasks(space: str, fake: Part, real: Part, seed: int) -> dict[str, Task]:
    """List the metrics of embeddings (N, D) in one feature space."""

    def kid(f: Part, r: Part, full: bool) -> Sequence[Value]:
        if not full:
            return [Value(kernel_distance(f.rows, r.rows).value)]
        size = min(KID_SUBSET_SIZE, len(f.rows), len(r.rows))
        published = subset_kernel_distance(f.rows, r.rows, KID_SUBSETS, size, seed)
        note = f"mean of {KID_SUBSETS} subsets of {size}, their standard error {published.standard_error:.2g}"
        if min(len(f.rows), len(r.rows)) < 3:
            return [Value(published.value, None, note)]
        # The subsets share images; the jackknife says how far other images would move the value.
        whole = kernel_distance(f.rows, r.rows)
        note = f"{note}; whole sets {whole.value:.4g}, ± by the jackknife"
        return [Value(published.value, whole.standard_error, note)]

    functions: dict[str, Callable[[Part, Part, bool], Sequence[Value]]] = {
        "kid": kid,
        "fid": lambda f, r, _: [Value(frechet_distance(f.rows, r.rows))],
        "precision-recall": lambda f, r, _: [*map(Value, precision_recall(f.rows, r.rows))],
        "density-coverage": lambda f, r, _: [*map(Value, density_coverage(f.rows, r.rows))],
        "swd": lambda f, r, _: [Value(sliced_wasserstein(f.rows, r.rows, seed=seed))],
    }
    return {name: Task(FIGURES[name], space, fake, real, own, name == "swd") for name, own in functions.items()}


def score_task(space: str, fake: Part, real: Part, seed: int) -> Task:
    """Describe the Inception Score of class probabilities (N, K)."""
    of_halves = inception.recommended_splits(min(len(fake.rows), len(real.rows)) // 2)

    def score(f: Part, _: Part, full: bool) -> Sequence[Value]:
        splits = inception.recommended_splits(len(f.rows)) if full else of_halves
        note = f"{splits} split{'s' * (splits > 1)}, {f.rows.shape[1]} classes"
        return [Value(inception.inception_score(f.rows, splits, seed), None, note)]

    return Task(FIGURES["inception-score"], space, fake, real, score)


def pixel_tasks(fake: Part, real: Part, seed: int) -> dict[str, Task]:
    """List the metrics of the images (N, S, S, C) uint8 themselves."""
    side = fake.rows.shape[1]

    def pyramid(f: Part, r: Part, _: bool) -> Sequence[Value]:
        found = list(laplacian_swd(f.rows, r.rows, seed).values())
        return [Value(float(np.mean(found))), *map(Value, found)]

    def similarity(f: Part, _: Part, full: bool) -> Sequence[Value]:
        found = ms_ssim.mean_ms_ssim(f.rows, PAIRS, seed)
        return [Value(found.value, found.standard_error, f"{found.pairs} pairs, {found.scales} scales")]

    rings = [Part(ring_levels(own.rows), own.groups) for own in (fake, real)]
    levels = [Figure(f"laplacian_swd_{own}", f"SWD x 1000, {own} px", "realistic", "low") for own in level_sides(side)]
    alike = Figure("ms_ssim", f"MS-SSIM of pairs, {len(ms_ssim.scale_weights(side))} scales", "diverse", "near")
    task = functools.partial(Task, space="pixels", fake=fake, real=real, slow=True)
    return {
        "spectrum": Task(
            FIGURES["spectrum"],
            "pixels",
            rings[0],
            rings[1],
            lambda f, r, _: [*map(Value, spectrum_distance(f.rows, r.rows))],
        ),
        "swd": task((*FIGURES["pyramid"], *levels), function=pyramid),
        "ms-ssim": task((alike,), function=similarity),
    }


def lpips_task(name: str, distances: NDArray[np.float32], fake: Part, real: Part) -> Task:
    """Describe LPIPS between generated images and to the nearest real ones; rows index ``distances`` (K, K)."""

    def function(f: Part, r: Part, _: bool) -> Sequence[Value]:
        note = f"{len(f.rows)} generated and {len(r.rows)} real images"
        nearest = distances[np.ix_(f.rows, r.rows)].min(1).mean()
        pairs = distances[np.ix_(f.rows, f.rows)].sum() / (len(f.rows) * (len(f.rows) - 1))
        return [Value(float(found), None, note) for found in (nearest, pairs)]

    return Task(FIGURES["lpips"], name, fake, real, function)


def metric_settings(lpips: Lpips | None) -> dict[str, Any]:
    """Return the settings of the metrics, for the protocol of an evaluation."""
    return {
        "KID": f"polynomial kernel of degree 3, {KID_SUBSETS} subsets of at most {KID_SUBSET_SIZE}",
        "neighbours": "precision and recall 3, density and coverage 5",
        "sliced Wasserstein": "512 directions; pyramid: 128 patches of 7x7 an image, 4 x 128 directions",
        "MS-SSIM pairs": PAIRS,
        "LPIPS": lpips.name if lpips else None,
    }


class EmbeddedSets(NamedTuple):
    """Both sets in one feature space, under its short name."""

    space: str
    real: spaces.Embedded
    fake: spaces.Embedded


def list_tasks(
    metrics: Sequence[str],
    real: image_set.ImageSet,
    fake: image_set.ImageSet,
    embedded: Sequence[EmbeddedSets],
    lpips: Lpips | None,
    seed: int,
) -> tuple[list[Task], list[Record]]:
    """List what to measure (``metrics`` as in ``evaluate --metrics``), and what cannot be measured."""
    groups = -1 - np.arange(len(fake))  # one for each image, and none of the real ones'
    tasks: list[Task] = []
    left_out: list[Record] = []
    for space, reals, fakes in embedded:
        own = embedding_tasks(space, Part(fakes.features, groups), Part(reals.features, real.groups), seed)
        tasks += [task for name, task in own.items() if name in metrics]
        if "inception-score" not in metrics:
            continue
        if fakes.probabilities is None or reals.probabilities is None:
            why = "the space has no classifier; the feature space inception gives the published score"
            left_out.append({"name": f"Inception Score in {space}", "why": why})
        else:
            chances = Part(fakes.probabilities, groups), Part(reals.probabilities, real.groups)
            tasks.append(score_task(space, chances[0], chances[1], seed))
    own = pixel_tasks(Part(fake.pixels, groups), Part(real.pixels, real.groups), seed)
    tasks += [task for name, task in own.items() if name in metrics]
    if "lpips" in metrics and lpips is None:
        why = "give its network, lpips: a .safetensors file, or a name such as squeezenet1_1 to download it"
        left_out.append({"name": "LPIPS", "why": why})
    elif "lpips" in metrics and lpips is not None:
        # Evenly spaced images, as folders are sorted class by class.
        made, some = (evenly_spaced(len(images), LPIPS_IMAGES) for images in (fake, real))
        log.info("LPIPS: %d generated and %d real images, %s", len(made), len(some), lpips.name)
        table = distance_matrix(lpips, np.concatenate([fake.pixels[made], real.pixels[some]]))
        first, second = np.arange(len(made)), len(made) + np.arange(len(some))
        tasks.append(lpips_task(lpips.network, table, Part(first, -1 - first), Part(second, real.groups[some])))
    return tasks, left_out
