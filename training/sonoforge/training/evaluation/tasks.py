"""What an evaluation measures: for each metric the function, the figures it gives, and the images it looks at."""

from __future__ import annotations

import csv
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance, subset_kernel_distance
from sonoforge.runtime.distances.neighbours import density_coverage, precision_recall
from sonoforge.runtime.distances.sliced import laplacian_swd, level_sides, sliced_wasserstein
from sonoforge.runtime.distances.spectrum import ring_levels, spectrum_distance
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.evaluation.inception import inception_score, recommended_splits
from sonoforge.training.evaluation.linear_probe import linear_probe
from sonoforge.training.evaluation.lpips import Lpips, distance_matrix
from sonoforge.training.evaluation.ms_ssim import mean_ms_ssim, scale_weights
from sonoforge.training.evaluation.results import Unmeasured
from sonoforge.training.evaluation.spaces import Embedded

log = logging.getLogger(__name__)

KID_SUBSETS, KID_SUBSET_SIZE = 100, 100  # of few images; published figures have 100 subsets of 1000
PAIRS = 200  # that MS-SSIM is averaged over
LPIPS_IMAGES = 500  # of a set, at most: their distances to each other are held at once


class Figure(NamedTuple):
    """How to read one figure."""

    name: str  # in `results.json`
    title: str
    question: str  # which it answers: `realistic` or `diverse`
    better: str  # `low`, `high`, or `near` the real images' own


def _read_figures() -> dict[str, tuple[Figure, ...]]:
    found: dict[str, tuple[Figure, ...]] = {}
    with Path(__file__).with_name("figures.csv").open(encoding="utf-8", newline="") as file:
        for metric, *row in list(csv.reader(file))[1:]:
            found[metric] = (*found.get(metric, ()), Figure(*row))
    return found


FIGURES = _read_figures()
"""What each metric gives, in the order of its function's numbers."""


class Part(NamedTuple):
    """Images of one set, as one kind of numbers."""

    rows: NDArray[Any]  # (N, ...) embeddings, class probabilities, pixels, or indices into a table of distances
    groups: NDArray[np.int64]  # (N,) near-duplicate group of each image; real and generated images share none

    def take(self, indices: NDArray[np.intp]) -> Part:
        """Return the images at these indices."""
        return Part(self.rows[indices], self.groups[indices])


class Task(NamedTuple):
    """One call that gives one or more figures, and its images."""

    figures: tuple[Figure, ...]  # what `function` returns, in its order
    space: str  # name of the feature space; `pixels` for the images themselves
    fake: Part
    real: Part
    # Takes generated and real images; a figure of one set alone is of the first.
    function: Callable[[Part, Part], tuple[float, ...]]
    slow: bool = False  # whether it costs seconds
    # Figures on the full sets where these follow another protocol: value, standard error, note.
    whole: Callable[[Part, Part], list[tuple[float, float | None, str]]] | None = None


def embedding_tasks(space: str, fake: Part, real: Part, seed: int) -> dict[str, Task]:
    """List what is measured on embeddings (N, D) in one feature space, by metric."""

    def subsets(f: Part, r: Part) -> list[tuple[float, float | None, str]]:
        size = min(KID_SUBSET_SIZE, len(f.rows), len(r.rows))
        published = subset_kernel_distance(f.rows, r.rows, KID_SUBSETS, size, seed)
        note = f"mean of {KID_SUBSETS} subsets of {size}, their standard error {published.standard_error:.2g}"
        if min(len(f.rows), len(r.rows)) < 3:
            return [(published.value, None, note)]
        # The subsets are of the same images; by how much other images would move the value, the jackknife says.
        whole = kernel_distance(f.rows, r.rows)
        return [(published.value, whole.standard_error, f"{note}; whole sets {whole.value:.4g}, ± by the jackknife")]

    def probe(f: Part, r: Part) -> tuple[float, ...]:
        return (linear_probe(f.rows, r.rows, r.groups, f.groups, seed)["value"],)

    def probe_whole(f: Part, r: Part) -> list[tuple[float, float | None, str]]:
        found = linear_probe(f.rows, r.rows, r.groups, f.groups, seed)
        note = f"95 % interval [{found['low']:.3f}, {found['high']:.3f}]; 0.5 cannot be told apart"
        return [(found["value"], None, note)]

    task = functools.partial(Task, space=space, fake=fake, real=real)
    return {
        "kid": task(FIGURES["kid"], function=lambda f, r: (kernel_distance(f.rows, r.rows).value,), whole=subsets),
        "fid": task(FIGURES["fid"], function=lambda f, r: (frechet_distance(f.rows, r.rows),)),
        "probe": task(FIGURES["probe"], function=probe, whole=probe_whole),
        "precision-recall": task(
            FIGURES["precision-recall"], function=lambda f, r: tuple(precision_recall(f.rows, r.rows))
        ),
        "density-coverage": task(
            FIGURES["density-coverage"], function=lambda f, r: tuple(density_coverage(f.rows, r.rows))
        ),
        "swd": task(FIGURES["swd"], function=lambda f, r: (sliced_wasserstein(f.rows, r.rows, seed=seed),), slow=True),
    }


def score_task(space: str, fake: Part, real: Part, seed: int) -> Task:
    """Describe the Inception Score of class probabilities (N, K)."""
    splits = recommended_splits(min(len(fake.rows), len(real.rows)) // 2)
    classes = fake.rows.shape[1]

    def whole(f: Part, r: Part) -> list[tuple[float, float | None, str]]:
        used = recommended_splits(len(f.rows))
        return [(inception_score(f.rows, used, seed), None, f"{used} split{'s' * (used > 1)}, {classes} classes")]

    def score(f: Part, r: Part) -> tuple[float, ...]:
        return (inception_score(f.rows, splits, seed),)

    return Task(FIGURES["inception-score"], space, fake, real, score, whole=whole)


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

    rings = [Part(ring_levels(own.rows), own.groups) for own in (fake, real)]
    sides = (Figure(f"laplacian_swd_{side}", f"SWD x 1000, {side} px", "realistic", "low") for side in levels)
    alike = Figure("ms_ssim", f"MS-SSIM of pairs, {len(scale_weights(side))} scales", "diverse", "near")

    def similarity(f: Part, r: Part) -> tuple[float, ...]:
        return (mean_ms_ssim(f.rows, PAIRS, seed).value,)

    return {
        "spectrum": Task(
            FIGURES["spectrum"], "pixels", rings[0], rings[1], lambda f, r: tuple(spectrum_distance(f.rows, r.rows))
        ),
        "swd": Task((*FIGURES["pyramid"], *sides), "pixels", fake, real, pyramid, slow=True),
        "ms-ssim": Task((alike,), "pixels", fake, real, similarity, slow=True, whole=whole),
    }


def lpips_task(name: str, distances: NDArray[np.float32], fake: Part, real: Part) -> Task:
    """Describe LPIPS between generated images and to the nearest real ones; rows index ``distances`` (K, K)."""

    def function(f: Part, r: Part) -> tuple[float, ...]:
        nearest = distances[np.ix_(f.rows, r.rows)].min(1).mean()
        pairs = distances[np.ix_(f.rows, f.rows)].sum() / (len(f.rows) * (len(f.rows) - 1))
        return float(nearest), float(pairs)

    def whole(f: Part, r: Part) -> list[tuple[float, float | None, str]]:
        note = f"{len(f.rows)} generated and {len(r.rows)} real images"
        return [(value, None, note) for value in function(f, r)]

    return Task(FIGURES["lpips"], name, fake, real, function, whole=whole)


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
    real: Embedded
    fake: Embedded


def list_tasks(
    metrics: Sequence[str],
    real: ImageSet,
    fake: ImageSet,
    embedded: Sequence[EmbeddedSets],
    lpips: Lpips | None,
    seed: int,
) -> tuple[list[Task], list[Unmeasured]]:
    """List what is to be measured, ``metrics`` being of `evaluate --metrics`, and what cannot be."""
    groups = -1 - np.arange(len(fake))  # one for each image, and none of the real ones'
    tasks: list[Task] = []
    left_out: list[Unmeasured] = []
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
    if "lpips" in metrics and lpips is not None:
        tasks.append(_compare_by_lpips(lpips, real, fake))
    elif "lpips" in metrics:
        why = "give its network, lpips: a .safetensors file, or a name such as squeezenet1_1 to download it"
        left_out.append({"name": "LPIPS", "why": why})
    return tasks, left_out


def _compare_by_lpips(lpips: Lpips, real: ImageSet, fake: ImageSet) -> Task:
    """Compare some images of both sets, evenly spaced: folders are sorted class by class."""
    some, made = evenly_spaced(len(real), LPIPS_IMAGES), evenly_spaced(len(fake), LPIPS_IMAGES)
    log.info("LPIPS: %d generated and %d real images, %s", len(made), len(some), lpips.name)
    table = distance_matrix(lpips, np.concatenate([fake.pixels[made], real.pixels[some]]))
    first, second = np.arange(len(made)), len(made) + np.arange(len(some))
    return lpips_task(lpips.network, table, Part(first, -1 - first), Part(second, real.groups[some]))
