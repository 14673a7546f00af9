"""Score how well readers told generated images from real ones, alone, together and image by image.

The records are parts of a reading's ``results.json``.  A share has ``right``, ``of``, ``value`` (None of none), and
``low`` and ``high``, its exact 95 % interval.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sonoforge.runtime.errors import GateError, SonoforgeError, refusing
from sonoforge.runtime.notice import NOTICE
from sonoforge.training.reader_study.sheet import KINDS, Entry, Key, sources
from sonoforge.training.statistics import intervals
from sonoforge.training.statistics.classification import agreement, auc_by_group
from sonoforge.training.statistics.results import Interval, Record

FORMAT = "sonoforge reading answers 1"
CONFIDENCES = (1, 2, 3, 4, 5)
_LONGEST = 200  # characters of a reader's name or experience
_MOST_BYTES = 5_000_000  # of a file; one of 1000 images has some 150 kB


@dataclass(frozen=True)
class Answer:
    """A reader's answer to one image."""

    kind: str  # one of `KINDS`
    confidence: int | None  # 1 (a guess) to 5 (certain)
    class_name: str | None  # of the second question
    mark: tuple[float, float] | None  # telltale place: x to the right, y downwards, as shares of the side
    seconds: float  # for which the image was in view


@dataclass(frozen=True)
class Reader:
    """One reader's answers, by the number of the image; unanswered images are absent."""

    name: str
    experience: str
    file: str
    answers: Mapping[int, Answer]


def read_readers(paths: Sequence[Path], key: Key, seal: str) -> list[Reader]:
    """Read every reader's answers to the sheet with this key and commitment; a folder stands for its ``.json`` files.

    Raises:
        GateError: The answers are for another sheet, or the key was changed since.
        SonoforgeError: There is no file, a damaged one, or two from one reader.
    """
    readers: dict[str, Reader] = {}
    for given in paths:
        files = sorted(given.glob("*.json")) if given.is_dir() else [given]
        if not files:
            raise SonoforgeError(f"{given}: contains no .json file; give the answers that readers saved from the page")
        for path in files:
            reader = _read(path, key, seal)
            if reader.name in readers:
                raise SonoforgeError(
                    f"{path}: a second file of reader {reader.name!r} beside {readers[reader.name].file}; leave the "
                    "older one out, or correct the name in it"
                )
            readers[reader.name] = reader
    return list(readers.values())


def _read(path: Path, key: Key, seal: str) -> Reader:
    with refusing(f"{path}: not a file of answers", "give the file that the page saved"):
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
    if values.get("commitment") != seal:
        raise GateError(
            f"{path}: its answers belong to the key {str(values.get('commitment'))[:16]}..., but this key is "
            f"{seal[:16]}...: it is for another sheet, or the key changed after the page was made; give the sheet "
            "that was read"
        )
    with refusing(f"{path}: damaged answer", "save the answers again"):
        given = [one for one in values["answers"] if one.get("kind") is not None]
        answers = {int(one["image"]): _answer(one, key) for one in given}
        if len(answers) != len(given):
            raise ValueError("an image is answered twice")
        beyond = [number for number in answers if not 1 <= number <= len(key.entries)]
        if beyond:
            raise ValueError(f"there is no image {beyond[0]}")
        texts = [values.get(field) for field in ("reader", "experience")]
        name, experience = (" ".join(one.split())[:_LONGEST] if isinstance(one, str) else "" for one in texts)
    if not name:
        raise SonoforgeError(f"{path}: the reader's name is missing; save the answers again with a name")
    if not answers:
        raise SonoforgeError(f"{path}: answers no image; leave this file out")
    return Reader(name, experience, str(path), answers)


def _answer(values: dict[str, Any], key: Key) -> Answer:
    kind, confidence, class_name = values["kind"], values.get("confidence"), values.get("class")
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}")
    if confidence is not None and confidence not in CONFIDENCES:
        raise ValueError(f"confidence is {confidence!r}")
    if class_name is not None and class_name not in key.classes:
        raise ValueError(f"class is {class_name!r}")
    seconds = float(values["seconds"])
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"seconds is {seconds}")
    mark = values.get("mark")
    place = None if mark is None else (float(mark["x"]), float(mark["y"]))
    if place and not all(0 <= part <= 1 for part in place):
        raise ValueError(f"mark is at {place}")
    return Answer(kind, confidence, class_name, place, seconds)


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
    thresholds = np.unique(scores)[::-1]
    points = [(float((scores[~truth] >= one).mean()), float((scores[truth] >= one).mean())) for one in thresholds]
    return auc_by_group([(truth, scores)], np.arange(len(truth))), [(0.0, 0.0), *points]


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
        return np.asarray(shares.mean(axis=0))  # nan where a reader has no such answer

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
