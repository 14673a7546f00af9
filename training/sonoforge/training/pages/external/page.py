"""``report.html`` of ``validate``: how a finished bundle does on images from elsewhere, and where it fails.

The page prints the results it is given and computes no figure of its own; curves are drawn from the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.external.disturbances import DISTURBANCES
from sonoforge.training.external.figures import Answers, collapse
from sonoforge.training.external.labels import Meanings, name_meaning
from sonoforge.training.external.results import Collection, Validation
from sonoforge.training.pages.embedding import Picture, embed
from sonoforge.training.pages.external import charts
from sonoforge.training.pages.run.evidence import reliability
from sonoforge.training.pages.shell import write_page
from sonoforge.training.statistics.by_source import told_apart
from sonoforge.training.statistics.flagged import ENOUGH

REPORT = "report.html"
_SHOWN = 12  # wrong scans that are shown of a collection
_SIDE = 300  # pixels of such a picture


class Answered(NamedTuple):
    """A collection and what the bundle said of it."""

    dataset: Dataset
    answers: Answers
    meanings: Meanings


class _WrongScan(NamedTuple):
    """A scan that was answered wrongly."""

    picture: Picture
    file: str
    label: int
    truth: str
    said: str
    probability: float  # of what was said
    causes: list[str]  # why the bundle would not have the answer used


class _Section(NamedTuple):
    """One collection on the page."""

    anchor: str
    figures: Collection
    headline: str  # the pair of labels that the AUC in the summary is of; empty: there is one label alone
    roc: Markup
    reliability: Markup
    robustness: Markup
    wrong: list[_WrongScan]  # the surest answers first
    wrong_images: int


def write_report(folder: Path, results: Validation, answered: Sequence[Answered]) -> Path:
    """Write ``FOLDER/report.html`` and return its path.

    Args:
        folder: Of the run.
        results: All figures.
        answered: The collections in the order of the results.
    """
    sections = [
        _section(place, figures, own, results["classes"])
        for place, (figures, own) in enumerate(zip(results["collections"], answered, strict=True), start=1)
    ]
    context = {
        "model": results["model"],
        "classes": results["classes"],
        "sections": sections,
        "links": [(own.anchor, own.figures["name"]) for own in sections],
        "headlines": [(own, own.figures["auc"][own.headline]) for own in sections if own.headline],
        "disturbances": DISTURBANCES,
        "enough": ENOUGH,
        "name_meaning": name_meaning,
    }
    return write_page(folder / REPORT, "external/page.html.j2", context)


def _section(place: int, figures: Collection, own: Answered, classes: Sequence[str]) -> _Section:
    columns, names = collapse(own.meanings, classes)
    probabilities = own.answers.probabilities @ columns
    curves = list(_curves(figures, own.answers, probabilities, names))
    labels = own.answers.labels
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    surest = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:_SHOWN]
    name, found = figures["name"], figures["robustness"]
    return _Section(
        anchor=f"collection-{place}",
        figures=figures,
        headline=next((curve.name for curve in reversed(curves) if "the rest" not in curve.name), ""),
        roc=charts.draw_roc(curves, name) if curves else Markup(),
        reliability=charts.draw_reliability(reliability(labels, probabilities, own.answers.groups), name),
        robustness=charts.draw_robustness(found, name) if found else Markup(),
        wrong=[_wrong_scan(own, index, probabilities[index], names) for index in surest.tolist()],
        wrong_images=len(wrong),
    )


def _curves(
    figures: Collection, answers: Answers, probabilities: np.ndarray, names: Sequence[str]
) -> Iterator[charts.Curve]:
    """Yield what each area of the table is the area of, but the mean."""
    for kinds in told_apart(answers.labels, names):
        scores = kinds.scores(probabilities[kinds.chosen])
        yield charts.Curve(kinds.name, kinds.positive, scores, figures["auc"][kinds.name]["value"])


def _wrong_scan(own: Answered, index: int, probabilities: np.ndarray, names: Sequence[str]) -> _WrongScan:
    file, label, said = own.answers.files[index], int(own.answers.labels[index]), int(probabilities.argmax())
    alt = f"{file}, labelled {names[label]}, called {names[said]}"
    return _WrongScan(
        picture=embed(read_image(own.dataset.file(file)), _SIDE, alt),
        file=file,
        label=label,
        truth=names[label],
        said=names[said],
        probability=float(probabilities[said]),
        causes=[cause.value for cause in own.answers.causes[index]],
    )
