"""Score how well readers told generated images from real ones, alone, together and image by image.

The records are parts of a reading's ``results.json``.  A share has ``right``, ``of``, ``value`` (None of none), and
``low`` and ``high``, its exact 95 % interval.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sonoforge.runtime.notice import NOTICE
from sonoforge.training.reader_study.answers import Answer, Reader
from sonoforge.training.reader_study.sheet import KINDS, Entry, Key, sources
from sonoforge.training.statistics import intervals
from sonoforge.training.statistics.classification import agreement, weighted_auc
from sonoforge.training.statistics.results import Interval, Record

CHANCE = 0.5
"""As many real as generated images in a secret order: guessing gets half of them right."""


def score_reading(run: str, readers: Sequence[Reader], key: Key, seal: str) -> Record:
    """Return ``results.json`` for the readers of the sheet in the folder ``run``; images are in the sheet's order."""
    kinds = [entry.kind for entry in key.entries]
    return {
        "sheet": {
            "run": run,
            "commitment": seal,
            "side": key.side,
            **{kind: kinds.count(kind) for kind in KINDS},
            "classes": list(key.classes),
            "sources": sources(key),
        },
        "readers": [score_reader(reader, key) for reader in readers],
        "together": score_together(readers, key),
        "agreement": score_agreement(readers, key),
        "class_agreement": score_agreement(readers, key, classes=True),
        "images": score_images(readers, key),
        "notice": NOTICE,
    }


def score_reader(reader: Reader, key: Key) -> Record:
    """Return one reader's figures, on the answered images.

    ``p_value`` is of the exact test of ``accuracy`` against ``chance``; ``noticeable`` the accuracy that this many
    answers would show with 80 % power.  ``auc`` and ``roc`` (false and true alarms, from none to all) are None unless
    every answer has a confidence. ``seconds`` has median and quartiles of each kind.  ``classes`` says how often the
    reader gave the class of the scan or of the generator, with Fisher's exact test between both kinds.
    """
    both = [(key.entries[number - 1], answer) for number, answer in sorted(reader.answers.items())]
    right = [entry.kind == answer.kind for entry, answer in both]
    truth: NDArray[np.bool_] = np.array([entry.kind == "generated" for entry, _ in both])
    hits = np.array(right)
    auc, roc = _rank(truth, [answer for _, answer in both])
    seconds = {}
    for kind in KINDS:
        own = [answer.seconds for entry, answer in both if entry.kind == kind]
        if own:
            low, median, high = (float(value) for value in np.percentile(own, (25, 50, 75)))
            seconds[kind] = {"median": median, "lower_quartile": low, "upper_quartile": high}
    return {
        "name": reader.name,
        "experience": reader.experience,
        "file": reader.file,
        "answered": len(both),
        "unanswered": len(key.entries) - len(both),
        "chance": CHANCE,
        "accuracy": _share(hits),
        "p_value": intervals.against_chance(sum(right), len(both), CHANCE),
        "noticeable": intervals.noticeable_share(len(both), CHANCE),
        "sensitivity": _share(hits[truth]),
        "specificity": _share(hits[~truth]),
        "auc": auc,
        "roc": roc,
        "seconds": seconds,
        "marks": sum(answer.mark is not None for _, answer in both),
        "classes": _classes(both) if key.classes else None,
    }


def _rank(
    truth: NDArray[np.bool_], answers: Sequence[Answer]
) -> tuple[Interval | None, list[tuple[float, float]] | None]:
    """Return AUC and ROC curve by confidence, if every answer has one and there are images of both kinds."""
    if not truth.any() or truth.all() or any(answer.confidence is None for answer in answers):
        return None, None
    # From -5, certainly real, to 5, certainly generated.
    confidences = [(answer.confidence or 0) * (1 if answer.kind == "generated" else -1) for answer in answers]
    scores = np.array(confidences, np.float64)
    (area,) = weighted_auc(truth, scores, np.ones((1, len(truth)))).tolist()
    low, high = intervals.auc_interval(area, int(truth.sum()), int((~truth).sum()))  # does not collapse at 0 and 1
    thresholds = np.unique(scores)[::-1]
    points = [(float((scores[~truth] >= one).mean()), float((scores[truth] >= one).mean())) for one in thresholds]
    return Interval(value=area, low=low, high=high), [(0.0, 0.0), *points]


def _share(hits: NDArray[np.bool_]) -> Record:
    right, count = int(hits.sum()), len(hits)
    found = intervals.exact_interval(right, count)
    value = found["value"] if count else None
    return {"right": right, "of": count, "value": value, "low": found["low"], "high": found["high"]}


def _classes(both: Sequence[tuple[Entry, Answer]]) -> Record | None:
    said = [(entry, answer.class_name == entry.class_name) for entry, answer in both if answer.class_name is not None]
    if not said:
        return None
    real, generated = (np.array([right for entry, right in said if entry.kind == kind], bool) for kind in KINDS)
    table = [[int(part.sum()), int((~part).sum())] for part in (real, generated)]
    p_value = float(stats.fisher_exact(table)[1]) if len(real) and len(generated) else 1.0
    return {"real": _share(real), "generated": _share(generated), "p_value": p_value}


def score_together(readers: Sequence[Reader], key: Key) -> dict[str, Interval] | None:
    """Return the readers' mean accuracy, sensitivity and specificity; None for a single reader.

    Readers saw the same images, so their answers are not independent: whole images are resampled, each with all
    readers' answers. The intervals hold for these readers.
    """
    if len(readers) < 2:
        return None
    hits = np.full((len(readers), len(key.entries)), np.nan)
    for row, reader in zip(hits, readers, strict=True):
        for number, answer in reader.answers.items():
            row[number - 1] = key.entries[number - 1].kind == answer.kind
    generated = np.array([entry.kind == "generated" for entry in key.entries])
    weights = intervals.group_weights(np.arange(len(generated)))

    def mean(chosen: NDArray[np.bool_]) -> intervals.Floats:
        own = np.where(np.isnan(hits), 0.0, hits) @ (weights * chosen).T
        answered = ~np.isnan(hits) @ (weights * chosen).T
        shares = np.divide(own, answered, out=np.full(own.shape, np.nan), where=answered > 0)
        means: intervals.Floats = shares.mean(axis=0)  # nan where a reader has no such answer
        return means

    chosen = {"accuracy": np.ones_like(generated), "sensitivity": generated, "specificity": ~generated}
    return {name: intervals.percentile_interval(mean(own)) for name, own in chosen.items()}


def score_agreement(readers: Sequence[Reader], key: Key, classes: bool = False) -> Record | None:
    """Return how far readers agree on which images are generated, or on the ``classes``; None if too few answered.

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


def score_images(readers: Sequence[Reader], key: Key) -> list[dict[str, Any]]:
    """Return what the readers said about each image, in the order of the sheet; marks are shares of the side."""
    images = []
    for entry in key.entries:
        given = {reader.name: reader.answers[entry.number] for reader in readers if entry.number in reader.answers}
        marks = [
            {"reader": name, "x": answer.mark[0], "y": answer.mark[1]} for name, answer in given.items() if answer.mark
        ]
        about = {"number": entry.number, "kind": entry.kind, "class": entry.class_name, "source": entry.source}
        called = sum(answer.kind == "generated" for answer in given.values())
        said = {"file": entry.file, "called_generated": called, "answers": len(given), "marks": marks}
        images.append(about | said)
    return images
