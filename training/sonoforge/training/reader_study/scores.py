"""How well readers told generated images from real ones, each alone, together, and image by image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sonoforge.training.evaluation.linear_probe import auc_interval
from sonoforge.training.reader_study.answers import Answer, Reader
from sonoforge.training.reader_study.key import KINDS, Entry, Key
from sonoforge.training.reader_study.results import (
    AgreementResult,
    ClassResult,
    ImageResult,
    ReaderResult,
    SecondsResult,
    ShareResult,
    TogetherResult,
)
from sonoforge.training.statistics.agreement import agreement
from sonoforge.training.statistics.classification import weighted_auc
from sonoforge.training.statistics.intervals import (
    Floats,
    against_chance,
    exact_interval,
    group_weights,
    noticeable_share,
    percentile_interval,
)
from sonoforge.training.statistics.results import Interval

CHANCE = 0.5
"""As many real as generated images in a secret order: half of the answers of a reader who sees nothing are right."""


def score_reader(reader: Reader, key: Key) -> ReaderResult:
    """Return the figures of one reader, on the images that were answered."""
    both = [(key.entries[number - 1], answer) for number, answer in sorted(reader.answers.items())]
    right = [entry.kind == answer.kind for entry, answer in both]
    truth: NDArray[np.bool_] = np.array([entry.kind == "generated" for entry, _ in both])
    hits = np.array(right)
    scores = _scores([answer for _, answer in both])
    if not truth.any() or truth.all():
        scores = None  # nothing to rank against
    return {
        "name": reader.name,
        "experience": reader.experience,
        "file": reader.file,
        "answered": len(both),
        "unanswered": len(key.entries) - len(both),
        "chance": CHANCE,
        "accuracy": _share(hits),
        "p_value": against_chance(sum(right), len(both), CHANCE),
        "noticeable": noticeable_share(len(both), CHANCE),
        "sensitivity": _share(hits[truth]),
        "specificity": _share(hits[~truth]),
        "auc": None if scores is None else _area(truth, scores),
        "roc": None if scores is None else roc_curve(truth, scores),
        "seconds": _seconds(both),
        "marks": sum(answer.mark is not None for _, answer in both),
        "classes": _classes(both) if key.classes else None,
    }


def _area(truth: NDArray[np.bool_], scores: Floats) -> Interval:
    """By `auc_interval`, which the area of a reader who is always right does not shrink to nothing."""
    (area,) = weighted_auc(truth, scores, np.ones((1, len(truth)))).tolist()
    low, high = auc_interval(area, int(truth.sum()), int((~truth).sum()))
    return Interval(value=area, low=low, high=high)


def roc_curve(truth: NDArray[np.bool_], scores: Floats) -> list[tuple[float, float]]:
    """Return false and true alarms (N, both kinds among them) at every threshold, from (0, 0) to (1, 1)."""
    thresholds = np.unique(scores)[::-1]
    points = [(float((scores[~truth] >= one).mean()), float((scores[truth] >= one).mean())) for one in thresholds]
    return [(0.0, 0.0), *points]


def score_together(readers: Sequence[Reader], key: Key) -> TogetherResult | None:
    """Return the readers' mean accuracy, sensitivity and specificity; None for one reader alone.

    Readers saw the same images, so their answers are no independent ones: whole images are resampled, each with the
    answers of all readers.
    """
    if len(readers) < 2:
        return None
    hits = np.full((len(readers), len(key.entries)), np.nan)
    for row, reader in zip(hits, readers, strict=True):
        for number, answer in reader.answers.items():
            row[number - 1] = key.entries[number - 1].kind == answer.kind
    generated = np.array([entry.kind == "generated" for entry in key.entries])
    weights = group_weights(np.arange(len(generated)))

    def mean(chosen: NDArray[np.bool_]) -> Floats:
        own = np.where(np.isnan(hits), 0.0, hits) @ (weights * chosen).T
        answered = ~np.isnan(hits) @ (weights * chosen).T
        shares = np.divide(own, answered, out=np.full(own.shape, np.nan), where=answered > 0)
        means: Floats = shares.mean(axis=0)  # nan where a reader has no such answer
        return means

    accuracy, sensitivity, specificity = (
        percentile_interval(part) for part in map(mean, (np.ones_like(generated), generated, ~generated))
    )
    return {"accuracy": accuracy, "sensitivity": sensitivity, "specificity": specificity}


def score_agreement(readers: Sequence[Reader], key: Key, classes: bool = False) -> AgreementResult | None:
    """Return how far readers agree on which images are generated, or on the classes; None where too few answered.

    Only images that all of them answered count.
    """
    names = key.classes if classes else KINDS
    if len(readers) < 2 or not names:
        return None
    rows = []
    for entry in key.entries:
        given = [reader.answers.get(entry.number) for reader in readers]
        said = [None if one is None else (one.class_name if classes else one.kind) for one in given]
        if None not in said:
            rows.append([names.index(one) for one in said if one is not None])
    if len(rows) < 2:
        return None
    interval = agreement(np.array(rows, np.int64))
    return {
        "name": "Cohen's kappa" if len(readers) == 2 else "Fleiss's kappa",
        "images": len(rows),
        "kappa": None if np.isnan(interval["value"]) else interval,
    }


def score_images(readers: Sequence[Reader], key: Key) -> list[ImageResult]:
    """Return what the readers said of each image, in the order of the sheet."""
    return [_image(entry, readers) for entry in key.entries]


def _image(entry: Entry, readers: Sequence[Reader]) -> ImageResult:
    given = {reader.name: reader.answers[entry.number] for reader in readers if entry.number in reader.answers}
    return {
        "number": entry.number,
        "kind": entry.kind,
        "class": entry.class_name,
        "source": entry.source,
        "file": entry.file,
        "called_generated": sum(answer.kind == "generated" for answer in given.values()),
        "answers": len(given),
        "marks": [
            {"reader": name, "x": answer.mark[0], "y": answer.mark[1]}
            for name, answer in given.items()
            if answer.mark is not None
        ],
    }


def _scores(answers: Sequence[Answer]) -> Floats | None:
    """(N,) from -5, certainly real, to 5, certainly generated; None unless every answer has a confidence."""
    scores = [
        (answer.confidence if answer.kind == "generated" else -answer.confidence)
        for answer in answers
        if answer.confidence is not None
    ]
    return np.array(scores, np.float64) if len(scores) == len(answers) else None


def _share(hits: NDArray[np.bool_]) -> ShareResult:
    right, count = int(hits.sum()), len(hits)
    interval = exact_interval(right, count)
    return {
        "right": right,
        "of": count,
        "value": interval["value"] if count else None,
        "low": interval["low"],
        "high": interval["high"],
    }


def _seconds(both: Sequence[tuple[Entry, Answer]]) -> dict[str, SecondsResult]:
    found: dict[str, SecondsResult] = {}
    for kind in KINDS:
        seconds = [answer.seconds for entry, answer in both if entry.kind == kind]
        if seconds:
            low, median, high = (float(value) for value in np.percentile(seconds, (25, 50, 75)))
            found[kind] = {"median": median, "lower_quartile": low, "upper_quartile": high}
    return found


def _classes(both: Sequence[tuple[Entry, Answer]]) -> ClassResult | None:
    """None unless the second question was answered for some image."""
    said = [(entry, answer.class_name == entry.class_name) for entry, answer in both if answer.class_name is not None]
    if not said:
        return None
    real, generated = (np.array([right for entry, right in said if entry.kind == kind], bool) for kind in KINDS)
    table = [[int(part.sum()), int((~part).sum())] for part in (real, generated)]
    p_value = float(stats.fisher_exact(table)[1]) if len(real) and len(generated) else 1.0
    return {"real": _share(real), "generated": _share(generated), "p_value": p_value}
