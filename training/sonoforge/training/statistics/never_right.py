"""Groups of images that no arm with any seed answered rightly: hard scans, or wrong labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import NeverRight, WrongCluster

WORST = 12
"""Groups described, at most."""


def never_right(predictions: Sequence[Predictions], classes: Sequence[str]) -> NeverRight:
    """Find the groups in which every image was answered wrongly by every arm with every seed.

    The worst come first: those of the most images (near-duplicates that all fail are no accident), and among these the
    ones whose true class is thought the least probable.  An image that some arm did not predict is left out.
    """
    first = predictions[0]
    orders = [{file: i for i, file in enumerate(part.files)} for part in predictions]
    kept = [i for i, file in enumerate(first.files) if all(file in order for order in orders)]
    parts = [
        part.reordered(np.array([order[first.files[i]] for i in kept], np.int64))
        for part, order in zip(predictions, orders, strict=True)
    ]
    first = parts[0]
    answers = np.stack([part.predicted for part in parts])
    rows = np.arange(len(kept))
    probability = np.mean([part.probabilities[rows, part.labels] for part in parts], axis=0)
    wrong = (answers != first.labels).all(axis=0)
    _, group = np.unique(first.groups, return_inverse=True)
    sizes = np.bincount(group)
    found = np.flatnonzero(np.bincount(group, weights=wrong) == sizes)
    mean = np.bincount(group, weights=probability) / sizes
    worst = sorted(found.tolist(), key=lambda own: (-sizes[own], mean[own]))[:WORST]
    return NeverRight(
        groups=len(found),
        images=int(sizes[found].sum()),
        of_groups=len(sizes),
        of_images=len(kept),
        worst=[
            WrongCluster(
                files=[first.files[i] for i in members],
                labels=[classes[first.labels[i]] for i in members],
                answers=[classes[int(np.bincount(answers[:, i]).argmax())] for i in members],
                probability=float(mean[own]),
            )
            for own in worst
            for members in [np.flatnonzero(group == own)]
        ],
    )
