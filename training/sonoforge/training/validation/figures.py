"""Read labelled images from elsewhere, interpret their labels, and compute a bundle's figures on them.

Only the thresholds of `sensitivity_at` are fitted on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.csv_tables import class_key
from sonoforge.runtime.errors import SonoforgeError, check_known
from sonoforge.runtime.inference.adaptation import at_shares
from sonoforge.runtime.inference.trust import Cause
from sonoforge.training.data.datasets import Dataset, read_dataset
from sonoforge.training.data.unpacking import unpacked
from sonoforge.training.statistics import one_against_rest, predictions, results, tables
from sonoforge.training.statistics.calibration import brier_score, compare_flagged, expected_calibration_errors
from sonoforge.training.statistics.classification import confusion_matrix, sensitivity, specificity
from sonoforge.training.statistics.intervals import Floats, Labels, group_bootstrap, wilson_by_group

if TYPE_CHECKING:  # of Python 3.11
    from typing_extensions import Self


def read_external(text: str, store: Path) -> Dataset:
    """Read a collection given as a path, as of other verbs, or as ``NAME:PATH``; unpack a zip into ``store``.

    Raises:
        SonoforgeError: There are no labelled images.
    """
    name, _, path = text.partition(":")
    if not name or not path or "/" in name or Path(name).exists():  # a path, or a table and its column
        name, path = "", text
    found = read_dataset(unpacked(Path(path), store), fewest_classes=1)
    return replace(found, name=name) if name else found


Meanings = Mapping[str, tuple[str, ...]]
"""The bundle's classes that each label covers, such as ``{"lesion": ("benign", "malignant")}``."""


def read_meanings(given: Sequence[str], labels: Sequence[str], classes: Sequence[str]) -> Meanings:
    """Return the meaning of each label of a collection, in the order of the bundle's classes.

    ``given`` are entries ``LABEL=CLASS`` or ``LABEL=CLASS+CLASS``; labels named as a class, in any spelling, need none.

    Raises:
        SonoforgeError: An entry is malformed, a class is unknown or has two labels, or a label has no meaning.
    """
    stated: dict[str, tuple[str, ...]] = {class_key(name): (name,) for name in classes}
    stated |= {class_key(label): meaning for label, meaning in (_entry(text, classes) for text in given)}
    meanings: dict[str, tuple[str, ...]] = {}
    for label in labels:
        meaning = stated.get(class_key(label))
        if meaning is None:
            raise SonoforgeError(
                f"--classes: the label {label!r} is none of the bundle's classes {', '.join(classes)}; give --classes "
                f"'{label}={classes[-1]}', or several as {'+'.join(classes[-2:])}"
            )
        for other, own in meanings.items():
            shared = sorted(set(own) & set(meaning))
            if shared:
                raise SonoforgeError(
                    f"--classes: {label!r} and {other!r} both mean {', '.join(shared)}; a class may have only one label"
                )
        meanings[label] = meaning
    return dict(sorted(meanings.items(), key=lambda item: classes.index(item[1][0])))


def _entry(text: str, classes: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    label, _, meaning = (part.strip() for part in text.partition("="))
    names = tuple(name.strip() for name in meaning.split("+"))
    if not label or not meaning:
        raise SonoforgeError(f"--classes: {text!r} is not LABEL=CLASS or LABEL=CLASS+CLASS")
    for name in names:
        check_known("--classes", name, classes)
    return label, names


def name_meaning(label: str, meaning: Sequence[str]) -> str:
    """Say what a label means: ``lesion = benign or malignant``, or just the name if it is the class."""
    return label if [label.casefold()] == [name.casefold() for name in meaning] else f"{label} = {' or '.join(meaning)}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Answers(predictions.Predictions):
    """A bundle's calibrated answers to N images of one collection; labels index its `Meanings`."""

    name: str  # of the collection
    sets: NDArray[np.bool_]  # (N, C) prediction sets
    causes: tuple[tuple[Cause, ...], ...]  # (N,) of distrust
    prevalence: tuple[float, ...] = ()  # (C,) class shares of the answers; empty: equal ones

    def reordered(self, order: Labels) -> Self:
        """Return the answers to the images at these indices."""
        causes = tuple(self.causes[i] for i in order)
        return replace(super().reordered(order), sets=self.sets[order], causes=causes)


RECIPE = ("data", "arm", "weights", "settings")
"""What a validation records of a bundle's training."""


def at_own_shares(given: Answers, columns: Floats) -> Floats:
    """Return the labels' probabilities (N, K) at the label shares of these images, for calibration.

    Args:
        given: The bundle's answers.
        columns: (C, K) sums that give the labels' probabilities, see `collapse`.
    """
    found = np.array(given.prevalence or [1 / len(columns)] * len(columns)) @ columns
    counts = np.bincount(given.labels, minlength=columns.shape[1])
    return at_shares(given.probabilities @ columns, np.maximum(counts, 0.5) / len(given.labels) / found)


def describe(given: Answers, meanings: Meanings, columns: Floats, names: Sequence[str]) -> results.Record:
    """Compute the figures of one collection.

    ``answers`` lists the columns of ``confusion``: the labels, then classes that no label means, which are never right.
    ``coverage`` is the prediction sets'. ``sensitivity_at`` has thresholds chosen on the other half of these images, by
    whole groups.  ``ece`` and ``brier`` are at the label shares of these images.
    """
    probabilities = given.probabilities @ columns
    own = at_own_shares(given, columns)
    part = replace(given, probabilities=probabilities)
    labels, groups, right = part.labels, part.groups, part.predicted == part.labels
    counts = np.bincount(labels, minlength=len(meanings))
    covered = (given.sets @ columns)[np.arange(len(labels)), labels] > 0
    shown = [i for i in range(len(meanings)) if counts[i]]
    flags = {"any cause": np.array([bool(causes) for causes in given.causes])}
    flags |= {cause.value: np.array([cause in causes for causes in given.causes]) for cause in Cause}
    return {
        "name": given.name,
        "labels": {label: list(meaning) for label, meaning in meanings.items()},
        "images": dict(zip(meanings, counts.tolist(), strict=True)),
        "groups": len(np.unique(groups)),
        "answers": [*names],
        "confusion": confusion_matrix(labels, part.predicted, len(names))[: len(meanings)].tolist(),
        "accuracy": wilson_by_group(right, groups),
        "sensitivity": {names[i]: sensitivity(labels, part.predicted, groups, i) for i in shown},
        "specificity": {names[i]: specificity(labels, part.predicted, groups, i) for i in shown},
        "auc": tables.pair_areas(part, names),
        "sensitivity_at": one_against_rest.sensitivity_at(part, names[: len(meanings)]),
        "ece": group_bootstrap(expected_calibration_errors, labels, own, groups),
        "brier": brier_score(labels, own),
        "coverage": {names[i]: wilson_by_group(covered[labels == i], groups[labels == i]) for i in shown},
        "mean_set_size": float(given.sets.sum(axis=1).mean()),
        "flags": compare_flagged(~right, flags, groups),
        "devices": [
            tables.describe_source(("device", name), part, np.array(given.devices) == name, names, (own, covered))
            for name in sorted(set(given.devices) - {""})
        ],
    }


def collapse(meanings: Meanings, classes: Sequence[str]) -> tuple[Floats, list[str]]:
    """Return the (C, K) sums that give the labels' probabilities, and the names of the K answers."""
    covered = {name for meaning in meanings.values() for name in meaning}
    answers = [*meanings.items(), *((name, (name,)) for name in classes if name not in covered)]
    columns = np.array([[float(name in meaning) for _, meaning in answers] for name in classes])
    return columns, [name for name, _ in answers]
