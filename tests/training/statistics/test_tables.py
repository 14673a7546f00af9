"""Everything in the tables follows from predictions.csv: by arm, by source, and what was never right."""

from __future__ import annotations

import csv
import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from sklearn.metrics import roc_auc_score

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.statistics.calibration import (
    calibrate,
    conformal_thresholds,
    expected_calibration_error,
    own_answers,
)
from sonoforge.training.statistics.predictions import Predictions, read_predictions, write_predictions
from sonoforge.training.statistics.tables import WORST, compare_arms, describe_sources, evaluate, never_right

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
    with pytest.raises(SonoforgeError, match="images are in only one"):
        compare_arms(first, other, CLASSES)


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


NEVER_RIGHT_CLASSES = ("a", "b")


def wrongly(groups: list[int], true: list[float], arm: str = "real", seed: int = 0) -> Predictions:
    """Predictions with these probabilities of the true class, which is the first one's for even images."""
    labels = np.arange(len(groups)) % 2
    probabilities = np.where(np.eye(2)[labels] == 1, np.array(true)[:, None], 1 - np.array(true)[:, None])
    files = tuple(f"{i}.png" for i in range(len(groups)))
    return Predictions(arm, "sealed", seed, files, np.array(groups), np.arange(len(groups)) % 2, labels, probabilities)


def test_a_group_counts_where_every_image_is_wrong_in_every_arm_and_seed() -> None:
    groups = [0, 0, 1, 1, 2, 3, 4]
    first = wrongly(groups, [0.1, 0.2, 0.1, 0.9, 0.3, 0.2, 0.4])  # group 1 is right once
    second = wrongly(groups, [0.3, 0.4, 0.1, 0.1, 0.3, 0.6, 0.0], "gan")  # group 3 is right here
    found = never_right([first, second, dataclasses.replace(first, seed=1)], NEVER_RIGHT_CLASSES)
    assert (found["groups"], found["images"], found["of_groups"], found["of_images"]) == (3, 4, 5, 7)
    # The largest first, then the least probable: group 4 has (0.4 + 0.0 + 0.4) / 3, group 2 has 0.3.
    assert [own["files"] for own in found["worst"]] == [["0.png", "1.png"], ["6.png"], ["4.png"]]
    assert found["worst"][0]["labels"] == ["a", "b"] and found["worst"][0]["answers"] == ["b", "a"]
    assert np.isclose(found["worst"][1]["probability"], 0.8 / 3)


def test_images_are_matched_by_file_and_the_list_is_bounded() -> None:
    groups = list(range(40))
    wrong = [0.0] * 39 + [0.9]
    first = wrongly(groups, wrong)
    turned = wrongly(groups, wrong, "gan").reordered(np.arange(39, -1, -1))
    found = never_right([first, turned], NEVER_RIGHT_CLASSES)
    assert found["images"] == 39 and len(found["worst"]) == WORST
