"""Measured figures of the page on the papers' tables follow from the answers that are kept beside it."""

from __future__ import annotations

import csv
from collections import Counter

from places import CHECKOUT
from program import succeed

DOCS = CHECKOUT / "training" / "docs"
PAGE = " ".join((DOCS / "papers.md").read_text(encoding="utf-8").split())
ANSWERS = DOCS / "predictions" / "system-1-thesis-seed-0.csv"


def test_the_plain_training_of_the_thesis_has_the_accuracy_stated() -> None:
    with ANSWERS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes = ("normal", "benign", "malignant")
    answers = Counter((row["label"], max(classes, key=lambda name: float(row[f"p_{name}"]))) for row in rows)
    images = Counter(row["label"] for row in rows)
    assert images == {"normal": 133, "benign": 437, "malignant": 210}
    accuracy = sum(answers[name, name] for name in classes) / len(rows)
    assert f"accuracy **{accuracy:.3f}** [" in PAGE
    sensitivities = "{:.2f}, {:.2f} and {:.2f}".format(*(answers[name, name] / images[name] for name in classes))
    assert f"sensitivities {sensitivities} (normal, benign," in PAGE
    implied, claimed = (f"{100 * (published - accuracy):.1f}" for published in (0.900, 0.934))
    assert f"lies {implied} points higher, the 0.934 that it states {claimed}, although" in PAGE


def test_its_tables_come_from_the_answers_again() -> None:
    found = succeed("crossval", "--from", ANSWERS).json["arms"]["real"]
    accuracy, area = found["accuracy"], found["macro_auc"]
    stated = f"accuracy **{accuracy['value']:.3f}** [{accuracy['low']:.3f}, {accuracy['high']:.3f}]"
    assert f"{stated}, macro-AUC {area['value']:.3f}, sensitivities" in PAGE
