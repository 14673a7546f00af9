"""Figures by collection and device, against scikit-learn on the images of each alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sonoforge.training.statistics.calibration import (
    calibrate,
    conformal_thresholds,
    expected_calibration_error,
    own_answers,
)
from sonoforge.training.statistics.predictions import Predictions, read_predictions, write_predictions
from sonoforge.training.statistics.tables import describe_sources, evaluate

CLASSES = ("normal", "benign", "malignant")


@pytest.fixture
def part() -> Predictions:
    """Two collections of 90 images; the second has no normals, and two devices."""
    rng = np.random.default_rng(5)
    labels = np.concatenate([np.arange(90) % 3, 1 + np.arange(90) % 2])
    powers = np.exp(1.5 * np.eye(3)[labels] + rng.normal(0, 1, (180, 3)))
    return Predictions(
        arm="real",
        protocol="sealed",
        seed=0,
        files=tuple(f"{i}.png" for i in range(180)),
        groups=np.arange(180) // 2,
        folds=np.arange(180) // 2 % 3,
        labels=labels,
        probabilities=powers / powers.sum(1, keepdims=True),
        collections=("here",) * 90 + ("there",) * 90,
        devices=("",) * 90 + ("A",) * 60 + ("B",) * 30,
    )


def test_each_source_is_judged_by_its_own_images(part: Predictions) -> None:
    by_fold = calibrate(part.labels, part.probabilities, part.parts)
    calibrated = own_answers(by_fold)
    rows = {(row["kind"], row["name"]): row for row in describe_sources(part, CLASSES, by_fold, 0.1)}
    assert list(rows) == [("collection", "here"), ("collection", "there"), ("device", "A"), ("device", "B")]
    for key, own in ((("collection", "there"), slice(90, 180)), (("device", "A"), slice(90, 150))):
        truth, p = part.labels[own] == 2, part.probabilities[own]
        area = rows[key]["auc"]["malignant against benign"]
        assert area["value"] == pytest.approx(roc_auc_score(truth, p[:, 2] / (p[:, 1] + p[:, 2])))
        assert area["low"] < area["value"] < area["high"]
        assert list(rows[key]["auc"]) == ["malignant against benign"]
        assert rows[key]["accuracy"]["value"] == pytest.approx(np.mean(p.argmax(1) == part.labels[own]))
        assert rows[key]["ece"]["value"] == pytest.approx(expected_calibration_error(part.labels[own], calibrated[own]))
        assert rows[key]["ece"]["low"] < rows[key]["ece"]["high"]
    here = rows["collection", "here"]
    assert here["images"] == {"normal": 30, "benign": 30, "malignant": 30} and here["groups"] == 45
    area = here["auc"]["normal against the rest"]["value"]
    assert area == pytest.approx(roc_auc_score(part.labels[:90] == 0, part.probabilities[:90, 0]))
    macro = roc_auc_score(part.labels[:90], part.probabilities[:90], multi_class="ovr")
    assert here["auc"]["each class against the rest, mean"]["value"] == pytest.approx(macro)


def test_thresholds_and_sets_come_from_other_folds_of_any_source(part: Predictions) -> None:
    """As when a collection is left out: its fold is its own, so its thresholds come from the other collection."""
    part = dataclasses.replace(part, folds=np.repeat([0, 1], 90))
    by_fold = calibrate(part.labels, part.probabilities, part.parts)
    here, there, *_ = describe_sources(part, CLASSES, by_fold, 0.1)
    scores, positive = part.probabilities[:, 2], part.labels == 2
    threshold = np.quantile(scores[:90][~positive[:90]], 0.9, method="inverted_cdf")
    found = np.mean(scores[90:][positive[90:]] > threshold)
    assert there["sensitivity_at"]["malignant"][0]["sensitivity"]["value"] == pytest.approx(found)
    assert list(there["sensitivity_at"]) == ["malignant"]
    calibrated = by_fold[0].probabilities  # with the temperature of the other fold, for both
    truth = calibrated[np.arange(180), part.labels]
    limits = conformal_thresholds(part.labels[90:], calibrated[90:], 0.1)
    assert here["coverage"]["value"] == pytest.approx(np.mean(truth[:90] >= limits[part.labels[:90]]))


def test_sources_are_kept_with_the_predictions(part: Predictions, tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, [part], CLASSES)
    assert path.read_text().startswith("file,group,fold,arm,protocol,seed,collection,device,label,p_normal")
    (back,), classes = read_predictions(path)
    assert (back.collections, back.devices) == (part.collections, part.devices)
    figures = evaluate([back], classes)["arms"]["real"]
    by_fold = calibrate(part.labels, part.probabilities, part.parts)
    assert figures["by_source"] == describe_sources(part, CLASSES, by_fold, 0.1)
    alone = dataclasses.replace(part, collections=(), devices=())
    write_predictions(path, [alone], CLASSES)
    assert path.read_text().startswith("file,group,fold,arm,protocol,seed,label,p_normal")
    assert "by_source" not in evaluate([alone], CLASSES)["arms"]["real"]
