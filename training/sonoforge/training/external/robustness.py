"""How far a bundle falls under each disturbance, and whether its trust notices before it does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.grey_levels import grey_levels
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.in_order import answers_in_order, workers_for
from sonoforge.runtime.inference.trust import Cause
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.external.disturbances import DISTURBANCES, disturb
from sonoforge.training.external.figures import Answers, collapse
from sonoforge.training.external.labels import Meanings
from sonoforge.training.statistics.auc import weighted_auc
from sonoforge.training.statistics.intervals import Floats, group_bootstrap, wilson_by_group
from sonoforge.training.statistics.paired import paired_bootstrap
from sonoforge.training.statistics.results import IntervalResult, interval_result

FOREIGN = (Cause.NOT_ULTRASOUND, Cause.POOR_SCAN, Cause.UNLIKE_TRAINING)
"""Causes that speak of the scan, not of an answer between two classes."""


class DisturbedFigures(TypedDict):
    """The same images disturbed in one way at one strength; ``change`` is that of the AUC, paired by image."""

    kind: str
    strength: float
    auc: IntervalResult
    change: IntervalResult
    noticed: IntervalResult


class Robustness(TypedDict):
    """All disturbances of one collection: which two labels the AUC is of, and the figures of the untouched images."""

    pair: str
    images: int
    auc: IntervalResult
    noticed: IntervalResult
    disturbed: list[DisturbedFigures]


def measure_robustness(
    classifier: Classifier,
    dataset: Dataset,
    clean: Answers,
    meanings: Meanings,
    advance: Callable[[int], None],
) -> Robustness:
    """Answer for the images again under every disturbance.

    Args:
        classifier: The bundle's.
        dataset: Where the files of ``clean`` are.
        clean: Its answers to the untouched images that are to be disturbed.
        meanings: The last two of these labels that occur are told apart: the worst against the next.
        advance: Called with the number of answers so far.

    Raises:
        SonoforgeError: A file cannot be read any more.
    """
    present = np.unique(clean.labels)[-2:]
    chosen = np.flatnonzero(np.isin(clean.labels, present))
    names, files = list(meanings), [clean.files[i] for i in chosen]
    columns = collapse(meanings, classifier.bundle.classes)[0][:, present]
    worse, groups = clean.labels[chosen] == present[1], clean.groups[chosen]
    before = _scores(clean.probabilities[chosen] @ columns)
    noticed = np.array([bool(set(clean.causes[i]) & set(FOREIGN)) for i in chosen])
    found, done = [], 0
    for kind, disturbance in DISTURBANCES.items():
        for strength in disturbance.strengths:
            answers = _answer(classifier, dataset, files, (kind, strength))
            scores = _scores(np.array([row for row, _ in answers]) @ columns)
            found.append(
                DisturbedFigures(
                    kind=kind,
                    strength=strength,
                    auc=interval_result(group_bootstrap(weighted_auc, worse, scores, groups)),
                    change=interval_result(paired_bootstrap(weighted_auc, worse, before, scores, groups)),
                    noticed=interval_result(wilson_by_group(np.array([own for _, own in answers]), groups)),
                )
            )
            done += len(files)
            advance(done)
    return Robustness(
        pair=f"{names[present[1]]} against {names[present[0]]}",
        images=len(files),
        auc=interval_result(group_bootstrap(weighted_auc, worse, before, groups)),
        noticed=interval_result(wilson_by_group(noticed, groups)),
        disturbed=found,
    )


def seed_of(file: str) -> int:
    """Return the seed of what is drawn for a file."""
    return int.from_bytes(hashlib.sha256(file.encode()).digest()[:4], "big")


def _scores(pair: Floats) -> Floats:
    """Return the probability (N,) of the second of two labels (N, 2) among both."""
    scores: Floats = pair[:, 1] / np.maximum(pair.sum(axis=1), np.finfo(float).tiny)
    return scores


def _answer(
    classifier: Classifier, dataset: Dataset, files: Sequence[str], how: tuple[str, float]
) -> list[tuple[NDArray[np.float64], bool]]:
    """Return the probabilities (C,) of each disturbed image, and whether its scan is called foreign or poor."""
    kind, strength = how
    kept: dict[str, tuple[NDArray[np.float64], bool]] = {}

    def answer(file: str) -> dict[str, str]:
        levels = np.asarray(grey_levels(read_image(dataset.file(file))))
        result = classifier.classify(Image.fromarray(disturb(levels, kind, strength, seed_of(file))))
        values = np.array([result.probabilities[name] for name in classifier.bundle.classes])
        kept[file] = values, bool(set(result.trust.causes) & set(FOREIGN))
        return {"file": file}

    list(answers_in_order(answer, lambda _: None, list(files), workers_for(len(files), 1)))
    return [kept[file] for file in files]
