"""What ``results.json`` of an expert reading holds, key by key."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sonoforge.training.evaluation.linear_probe import auc_interval
from sonoforge.training.reader_study.answers import Answer, Reader
from sonoforge.training.reader_study.sheet import KINDS, Entry, Key
from sonoforge.training.statistics.agreement import agreement
from sonoforge.training.statistics.classification import weighted_auc
from sonoforge.training.statistics.intervals import (
    LEVEL,
    Floats,
    against_chance,
    exact_interval,
    group_weights,
    noticeable_share,
    percentile_interval,
)
from sonoforge.training.statistics.results import Interval
from sonoforge.training.statistics.verdict import Verdict
from sonoforge.training.statistics.wording import counted, listed, share


class ShareResult(TypedDict):
    """A share with its exact 95 % interval; ``value`` is None where ``of`` is 0."""

    right: int
    of: int
    value: float | None
    low: float
    high: float


class SecondsResult(TypedDict):
    """Reading times of one kind of image, seconds."""

    median: float
    lower_quartile: float
    upper_quartile: float


class ClassResult(TypedDict):
    """The second question: how often the class that the reader gave is that of the scan, or of the generator.

    ``p_value`` is Fisher's exact test between real and generated images.
    """

    real: ShareResult
    generated: ShareResult
    p_value: float


class ReaderResult(TypedDict):
    """One reader.

    ``p_value``: exact test of ``accuracy`` against ``chance``; ``noticeable``: the accuracy that it would notice in
    80 % of cases with that many answers.  ``sensitivity`` is the share of generated images called generated,
    ``specificity`` that of real ones called real.  ``auc`` and ``roc`` (false and true alarms, from none to all) use
    the confidences, and are None unless every answer has one.
    """

    name: str
    experience: str
    file: str
    answered: int
    unanswered: int
    chance: float
    accuracy: ShareResult
    p_value: float
    noticeable: float | None
    sensitivity: ShareResult
    specificity: ShareResult
    auc: Interval | None
    roc: list[tuple[float, float]] | None
    seconds: dict[str, SecondsResult]
    marks: int
    classes: ClassResult | None


class TogetherResult(TypedDict):
    """Means over all readers, with intervals by resampling images: they hold for these readers."""

    accuracy: Interval
    sensitivity: Interval
    specificity: Interval


class AgreementResult(TypedDict):
    """``kappa`` is Cohen's of two readers and Fleiss's of more, on the images that all of them answered."""

    name: str
    images: int
    kappa: Interval | None


class MarkResult(TypedDict):
    """The place that gave an image away, by a reader: shares of the side, x to the right and y downwards."""

    reader: str
    x: float
    y: float


ImageResult = TypedDict(
    "ImageResult",
    {
        "number": int,
        "kind": str,
        "class": str,
        "source": str,
        "file": str,
        "called_generated": int,
        "answers": int,
        "marks": list[MarkResult],
    },
)
"""One image of the sheet, and how many of its readers called it generated."""


class SheetResult(TypedDict):
    """The sheet that was read."""

    run: str
    commitment: str
    side: int
    real: int
    generated: int
    classes: list[str]
    sources: dict[str, list[str]]


class ReadingResults(TypedDict):
    """The whole file; ``automatic`` readers (`sonoforge.training.reader_study.automatic`) count nowhere else in it."""

    sheet: SheetResult
    readers: list[ReaderResult]
    together: TogetherResult | None
    agreement: AgreementResult | None
    class_agreement: AgreementResult | None
    automatic: list[ReaderResult]
    images: list[ImageResult]
    notice: str


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


def judge(results: ReadingResults) -> Verdict:
    """Say whether readers told the images apart, and what a negative answer leaves open."""
    readers = results["readers"]
    apart = [reader for reader in readers if reader["p_value"] <= LEVEL]
    better = [reader["name"] for reader in apart if (reader["accuracy"]["value"] or 0) > reader["chance"]]
    worse = [reader["name"] for reader in apart if reader["name"] not in better]
    sentences = []
    if better:
        sentences.append(
            f"{len(better)} of {counted(len(readers), 'reader')} did better than chance (exact binomial test at 5 %, "
            f"not corrected for the number of readers): {listed(better)}."
        )
    if worse:
        sentences.append(f"Worse than chance, calling generated images real and real ones generated: {listed(worse)}.")
    others = [reader for reader in readers if reader not in apart]
    noticed = [reader["noticeable"] for reader in others if reader["noticeable"] is not None]
    if noticed:
        start = "The others were not" if apart else "No reader was"
        sentences.append(
            f"{start} shown to differ from chance. That is no proof of likeness: with so few answers, an accuracy "
            f"below {share(max(noticed), 0)} is often missed."
        )
    seen = [f"{share(one['accuracy']['value'], 0)} ({one['name'].partition(', ')[2]})" for one in results["automatic"]]
    if seen:
        sentences.append(
            f"The automatic reader, a network that takes no part in this verdict, was right on {listed(seen)} of the "
            "images."
        )
    level = "no" if better or worse else "open"
    headline = "Yes" if better else "Yes, but the wrong way round" if worse else "Not shown"
    return Verdict(level, headline, tuple(sentences))
