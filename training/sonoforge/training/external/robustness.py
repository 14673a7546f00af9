"""How far a bundle falls under each disturbance, and whether its trust notices before it does."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.grey_levels import grey_levels
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.in_order import answers_in_order, workers_for
from sonoforge.runtime.inference.trust import Cause
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.external.collections import Meanings
from sonoforge.training.external.disturbances import DISTURBANCES, disturb
from sonoforge.training.external.figures import Answers, DisturbedFigures, Robustness, collapse
from sonoforge.training.statistics.auc import weighted_auc
from sonoforge.training.statistics.by_source import second_of_two
from sonoforge.training.statistics.intervals import Floats, group_bootstrap, wilson_by_group
from sonoforge.training.statistics.paired import paired_bootstrap

FOREIGN = (Cause.NOT_ULTRASOUND, Cause.POOR_SCAN, Cause.UNLIKE_TRAINING)
"""Causes that speak of the scan, not of an answer between two classes."""


def measure_robustness(
    classifier: Classifier, dataset: Dataset, clean: Answers, meanings: Meanings, advance: Callable[[int], None]
) -> Robustness:
    """Answer for the images again under every disturbance.

    Args:
        classifier: The bundle's.
        dataset: Where the files of ``clean`` are.
        clean: Its answers to the untouched images that are to be disturbed.
        meanings: The last two of these labels that occur are told apart: the worst against the next.
        advance: Called with the number of files so far.

    Raises:
        SonoforgeError: A file cannot be read any more.
    """
    present = np.unique(clean.labels)[-2:]
    chosen = np.flatnonzero(np.isin(clean.labels, present))
    names, files = list(meanings), [clean.files[i] for i in chosen]
    columns = collapse(meanings, classifier.bundle.classes)[0][:, present]
    worse, groups = clean.labels[chosen] == present[1], clean.groups[chosen]
    before = second_of_two(clean.probabilities[chosen] @ columns)
    noticed = np.array([bool(set(clean.causes[i]) & set(FOREIGN)) for i in chosen])
    hows = [(kind, strength) for kind, own in DISTURBANCES.items() for strength in own.strengths]
    probabilities, foreign = _answer(classifier, dataset, files, hows, advance)
    found = []
    for place, (kind, strength) in enumerate(hows):
        scores = second_of_two(probabilities[:, place] @ columns)
        found.append(
            DisturbedFigures(
                kind=kind,
                strength=strength,
                auc=group_bootstrap(weighted_auc, worse, scores, groups),
                change=paired_bootstrap(weighted_auc, worse, before, scores, groups),
                noticed=wilson_by_group(foreign[:, place], groups),
            )
        )
    return Robustness(
        pair=f"{names[present[1]]} against {names[present[0]]}",
        images=len(files),
        auc=group_bootstrap(weighted_auc, worse, before, groups),
        noticed=wilson_by_group(noticed, groups),
        disturbed=found,
    )


def seed_of(file: str) -> int:
    """Return the seed of what is drawn for a file."""
    return int.from_bytes(hashlib.sha256(file.encode()).digest()[:4], "big")


def _answer(
    classifier: Classifier,
    dataset: Dataset,
    files: Sequence[str],
    hows: Sequence[tuple[str, float]],
    advance: Callable[[int], None],
) -> tuple[Floats, NDArray[np.bool_]]:
    """Answer for each of N files, decoded once, under each of K disturbances.

    Returns:
        Probabilities (N, K, C), and whether the scan is called foreign or poor (N, K).
    """
    classes = classifier.bundle.classes
    kept: dict[str, list[tuple[list[float], bool]]] = {}

    def measure(pixels: NDArray[np.uint8]) -> tuple[list[float], bool]:  # what a result holds beside is large
        result = classifier.classify(Image.fromarray(pixels))
        return [result.probabilities[name] for name in classes], bool(set(result.trust.causes) & set(FOREIGN))

    def answer(file: str) -> dict[str, str]:
        levels, seed = np.asarray(grey_levels(read_image(dataset.file(file)))), seed_of(file)
        kept[file] = [measure(disturb(levels, kind, strength, seed)) for kind, strength in hows]
        return {"file": file}

    answered = answers_in_order(answer, lambda _: None, list(files), workers_for(len(files), 1))
    for done, _ in enumerate(answered, start=1):
        advance(done)
    probabilities = np.array([[values for values, _ in kept[file]] for file in files])
    return probabilities, np.array([[foreign for _, foreign in kept[file]] for file in files])
