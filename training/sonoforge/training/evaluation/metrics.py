"""List the metrics of an evaluation, with their functions, figures and images.

To add one, write rows of ``figures.csv`` and an entry of `embedding_tasks` (vectors) or `pixel_tasks` (pixels).
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.csv_tables import read_table
from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance, subset_kernel_distance
from sonoforge.runtime.distances.neighbours import density_coverage, precision_recall
from sonoforge.runtime.distances.sliced import laplacian_swd, level_sides, sliced_wasserstein
from sonoforge.runtime.distances.spectrum import ring_levels, spectrum_distance
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.evaluation import image_set, inception, spaces
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


# MS-SSIM, how alike the images of a set are: Wang, Simoncelli, Bovik, Asilomar 2003, as a measure of a generator's
# variety since Odena, Olah, Shlens, ICML 2017, section 4.3: the higher the mean over random pairs, compared with real
# images, the fewer different images there are.  The computation is torchmetrics' own.  Five scales need images of 176
# pixels.  Smaller ones are compared at the finest scales that leave a whole window at the coarsest, with weights
# rescaled to sum to 1.  Figures for different image sizes are therefore not comparable.
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003, section 3.2, finest scale first
_WINDOW = 11
_BLOCK = 32  # pairs at a time


def scale_weights(image_size: int) -> tuple[float, ...]:
    """Return the weights of the k scales that images of this side allow, up to 5: image_size // 2^(k - 1) >= 11.

    That means 11, 22, 44, 88 and 176 pixels; torchmetrics requires 99 pixels for four.

    Raises:
        SonoforgeError: The side is smaller than the window.
    """
    if image_size < _WINDOW:
        raise SonoforgeError(
            f"MS-SSIM: images of {image_size} pixels are smaller than its window of {_WINDOW}; leave this metric out"
        )
    # The second and third conditions are torchmetrics' own.
    scales = max(
        k
        for k in range(1, len(_WEIGHTS) + 1)
        if image_size >> (k - 1) >= _WINDOW and image_size // max(1, k - 1) ** 2 >= _WINDOW and image_size >= 2**k
    )
    return tuple(weight / sum(_WEIGHTS[:scales]) for weight in _WEIGHTS[:scales])


def mean_ms_ssim(images: NDArray[np.uint8], pairs: int = 1000, seed: int = 0) -> Value:
    """Compare random pairs of different images (N, S, S, C) uint8 of one set, at most all pairs, none twice.

    The value is the mean over pairs, 0 to 1 (one image repeated), with its standard error by the jackknife over images.

    Raises:
        SonoforgeError: There are fewer than three images, no pairs, or images below 11 pixels.
    """
    if len(images) < 3 or pairs < 1:
        raise SonoforgeError(
            f"MS-SSIM: {len(images)} images and {pairs} pairs; at least 3 images and 1 pair are needed"
        )
    weights = scale_weights(images.shape[1])
    first, second = draw_pairs(len(images), pairs, seed)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(first), _BLOCK)]
    values = np.concatenate([pair_ms_ssim(images[first[block]], images[second[block]]) for block in blocks])
    # The jackknife leaves out each image with all its pairs (Arvesen, Ann. Math. Statist. 40, 1969), on the wide side.
    sums, numbers = np.zeros(len(images)), np.zeros(len(images))
    for side in (first, second):
        np.add.at(sums, side, values)
        np.add.at(numbers, side, 1)
    left = len(values) - numbers
    without = (values.sum() - sums)[left > 0] / left[left > 0]
    error = math.sqrt((len(without) - 1) * float(np.var(without)))
    return Value(float(values.mean()), error, f"{len(first)} pairs, {len(weights)} scales")


def pair_ms_ssim(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the similarity of each pair of images (P, S, S, C) uint8: (P,) float64, 0 to 1.

    Raises:
        SonoforgeError: The images are below 11 pixels.
    """
    import_torchvision()  # torchmetrics imports it, and fails where torch is of another build
    from torchmetrics.functional.image import (  # noqa: PLC0415 - seconds, and only for this metric
        multiscale_structural_similarity_index_measure as ms_ssim,
    )

    weights = scale_weights(first.shape[1])
    a, b = (torch.from_numpy(np.ascontiguousarray(part)).permute(0, 3, 1, 2).float() / 255 for part in (first, second))
    with torch.inference_mode():
        values = ms_ssim(a, b, reduction="none", data_range=1.0, betas=weights, normalize="relu")
    return np.asarray(values.double().reshape(-1).numpy())


def draw_pairs(count: int, pairs: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw pairs (i, j), 0 <= i < j < count, none twice: the i and the j, (P,) int64 with P at most ``pairs``."""
    available = count * (count - 1) // 2
    rng = np.random.default_rng(derive_seed(seed, "image pairs"))
    number = np.sort(rng.choice(available, min(pairs, available), replace=False))
    # Pair (i, j) has the number j (j - 1) / 2 + i.
    second = ((1 + np.sqrt(1 + 8 * number)) // 2).astype(np.int64)
    return number - second * (second - 1) // 2, second


def pixel_tasks(fake: Part, real: Part, seed: int) -> dict[str, Task]:
    """List the metrics of the images (N, S, S, C) uint8 themselves."""
    side = fake.rows.shape[1]

    def pyramid(f: Part, r: Part, _: bool) -> Sequence[Value]:
        found = list(laplacian_swd(f.rows, r.rows, seed).values())
        return [Value(float(np.mean(found))), *map(Value, found)]

    def spectrum(f: Part, r: Part, _: bool) -> Sequence[Value]:
        return [*map(Value, spectrum_distance(f.rows, r.rows))]

    rings = [Part(ring_levels(own.rows), own.groups) for own in (fake, real)]
    levels = [Figure(f"laplacian_swd_{own}", f"SWD x 1000, {own} px", "realistic", "low") for own in level_sides(side)]
    alike = Figure("ms_ssim", f"MS-SSIM of pairs, {len(scale_weights(side))} scales", "diverse", "near")
    task = functools.partial(Task, space="pixels", fake=fake, real=real, slow=True)
    return {
        "spectrum": task(FIGURES["spectrum"], fake=rings[0], real=rings[1], function=spectrum, slow=False),
        "swd": task((*FIGURES["pyramid"], *levels), function=pyramid),
        "ms-ssim": task((alike,), function=lambda f, *_: [mean_ms_ssim(f.rows, PAIRS, seed)]),
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
