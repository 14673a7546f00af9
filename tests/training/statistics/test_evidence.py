"""predictions.csv is the only source of the tables."""

from __future__ import annotations

import csv
import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.statistics.predictions import Predictions, read_predictions, write_predictions
from sonoforge.training.statistics.tables import compare_arms, evaluate

CLASSES = ("normal", "benign", "malignant")


def predictions(arm: str, noise: float, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(int(noise * 100) + seed)
    labels = np.arange(120) % 3
    logits = 2.5 * np.eye(3)[labels] + rng.normal(0, noise, (120, 3))
    powers = np.exp(logits)
    return Predictions(
        arm=arm,
        protocol="sealed",
        seed=seed,
        files=tuple(f"{CLASSES[c]}/{i}.png" for i, c in enumerate(labels)),
        groups=np.arange(120) // 2,
        folds=np.arange(120) // 2 % 4,
        labels=labels,
        probabilities=powers / powers.sum(1, keepdims=True),
    )


def test_csv_round_trip_gives_the_same_tables(tmp_path: Path) -> None:
    parts = [predictions("real", 1.5), predictions("gan", 1.2), predictions("real", 1.5, 1), predictions("gan", 1.2, 1)]
    write_predictions(tmp_path / "predictions.csv", parts, CLASSES)
    back, classes = read_predictions(tmp_path / "predictions.csv")
    assert classes == CLASSES
    assert [(p.arm, p.seed) for p in back] == [(p.arm, p.seed) for p in parts]
    ours, theirs = evaluate(parts, CLASSES), evaluate(back, classes)
    assert ours["arms"]["gan"]["confusion"] == theirs["arms"]["gan"]["confusion"]
    assert ours["arms"]["real"]["macro_auc"] == pytest.approx(theirs["arms"]["real"]["macro_auc"], abs=1e-9)
    assert ours["comparisons"] == theirs["comparisons"]


def test_tables_agree_with_another_library(tmp_path: Path) -> None:
    part = predictions("real", 1.5)
    figures = evaluate([part], CLASSES)["arms"]["real"]
    predicted = part.probabilities.argmax(axis=1)
    recall = metrics.recall_score(part.labels, predicted, average=None)
    assert [figures["sensitivity"][name]["value"] for name in CLASSES] == pytest.approx(recall.tolist())
    assert figures["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(part.labels, predicted))
    assert figures["accuracy"]["low"] < figures["accuracy"]["value"] < figures["accuracy"]["high"]


def test_arms_are_paired_by_file_not_by_row() -> None:
    first, second = predictions("real", 1.5), predictions("gan", 1.2)
    order = np.random.default_rng(0).permutation(120)
    shuffled = dataclasses.replace(
        second,
        files=tuple(second.files[i] for i in order),
        groups=second.groups[order],
        folds=second.folds[order],
        labels=second.labels[order],
        probabilities=second.probabilities[order],
    )
    assert compare_arms(first, shuffled, CLASSES) == compare_arms(first, second, CLASSES)


def test_arms_of_different_images_cannot_be_paired() -> None:
    first, second = predictions("real", 1.5), predictions("gan", 1.2)
    other = dataclasses.replace(second, files=("x.png", *second.files[1:]))
    with pytest.raises(SonoforgeError, match="images here and not in"):
        compare_arms(first, other, CLASSES)


def test_a_file_that_is_not_a_prediction_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SonoforgeError, match=r"predictions\.csv of crossval"):
        read_predictions(path)


def test_a_compressed_table_is_the_same_table(tmp_path: Path) -> None:
    part, packed = predictions("real", 1.5), tmp_path / "predictions.csv.gz"
    write_predictions(tmp_path / "predictions.csv", [part], CLASSES)
    packed.write_bytes(gzip.compress((tmp_path / "predictions.csv").read_bytes()))
    (again,), classes = read_predictions(packed)
    assert (again.files, classes) == (part.files, CLASSES)
    assert np.array_equal(again.probabilities, part.probabilities)
    excel = (tmp_path / "predictions.csv").read_text().replace(",", ";").replace(".", ",").replace(",png", ".png")
    (tmp_path / "excel.csv").write_text(excel, "utf-8-sig")  # as a German Excel saves it
    (again,), classes = read_predictions(tmp_path / "excel.csv")
    assert (again.files, classes) == (part.files, CLASSES)
    assert np.array_equal(again.probabilities, part.probabilities)
    packed.write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(SonoforgeError, match=r"predictions\.csv of crossval"):
        read_predictions(packed)


def test_no_cell_of_the_predictions_is_a_formula(tmp_path: Path) -> None:
    part = predictions("real", 0.1)
    part = dataclasses.replace(part, files=tuple(f"=cmd/{file}" for file in part.files))
    classes = ("@a", *CLASSES[1:])
    write_predictions(tmp_path / "predictions.csv", [part], classes)
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    (again,), names = read_predictions(tmp_path / "predictions.csv")
    assert (again.files, names) == (part.files, classes)
    assert np.array_equal(again.labels, part.labels)
