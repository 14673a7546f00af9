"""Disturbances do what they say, and what is measured under them is what ``classify`` says of such pictures."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from program import sonoforge, succeed
from scans import draw_scan, write_set
from sonoforge.runtime import Classifier
from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.runtime.images.quality_metrics import measure
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.validation import robustness
from sonoforge.training.validation.robustness import DECIBEL, DISTURBANCES, disturb

SCAN = draw_scan(3, 200)[:160]


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_stronger_disturbances_change_more_and_repeat_themselves(kind: str) -> None:
    found = [disturb(SCAN, kind, strength, 5) for strength in DISTURBANCES[kind].strengths]
    for picture, strength in zip(found, DISTURBANCES[kind].strengths, strict=True):
        assert np.array_equal(picture, disturb(SCAN, kind, strength, 5))
        assert picture.dtype == np.uint8
    if kind != "crop":
        moved = [np.abs(picture.astype(float) - SCAN).mean() for picture in found]
        assert 0 < moved[0] < moved[1] < moved[2]


def test_decibels_are_sums_of_grey_levels() -> None:
    middle = (SCAN > 60) & (SCAN < 180)
    change = disturb(SCAN, "gain-up", 12, 0)[middle].astype(float) - SCAN[middle]
    assert change == pytest.approx(12 * DECIBEL, abs=0.5)
    lost = SCAN[-1].astype(float) - disturb(SCAN, "attenuation", 10, 0)[-1]
    assert lost[SCAN[-1] > 50] == pytest.approx(10 * DECIBEL, abs=0.5)
    assert np.array_equal(SCAN[0], disturb(SCAN, "attenuation", 40, 0)[0])


def test_shadow_lies_below_and_haze_above() -> None:
    even = np.full_like(SCAN, 150)
    darker = even.astype(float) - disturb(even, "shadow", 12, 1)
    assert darker[:5].max() <= 1 and darker.min() >= -1
    assert 0.15 < (darker[-1] > 6 * DECIBEL).mean() < 0.35 and darker.max() == pytest.approx(12 * DECIBEL, abs=1)
    brighter = disturb(SCAN, "haze", 0.4, 1).astype(float) - SCAN
    assert brighter.min() >= -1 and brighter[:40].mean() > 5 * max(brighter[-40:].mean(), 0.1)


def test_geometry_blur_and_jpeg() -> None:
    assert disturb(SCAN, "crop", 0.2, 1).shape == (128, 160)
    deeper = disturb(SCAN, "depth", 2.0, 1)
    small = np.asarray(Image.fromarray(SCAN).resize((200, 80), Image.Resampling.BILINEAR))
    assert deeper.shape == SCAN.shape and np.abs(deeper[:80].astype(int) - small).max() <= 1
    side = np.stack([draw_scan(4, 224)] * 3, axis=2)
    blurred = np.stack([disturb(side[..., 0], "blur", 0.016, 0)] * 3, axis=2)
    assert measure(blurred, 224, 224)["sharpness"] < measure(side, 224, 224)["sharpness"]


def test_the_table_is_what_classify_says_of_disturbed_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = {
        kind: DISTURBANCES[kind]._replace(strengths=DISTURBANCES[kind].strengths[1:2]) for kind in ("jpeg", "gain-down")
    }
    monkeypatch.setattr(robustness, "DISTURBANCES", two)
    root = write_set(tmp_path / "scans", {"benign": 8, "malignant": 8})
    done = succeed("validate", "--external", f"own:{root}", "--robustness", 10, "--out", tmp_path / "runs")
    found = done.json["collections"][0]["robustness"]
    assert found["images"] == 10 and found["pair"] == "malignant against benign"
    with (Path(done.json["run"]) / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [rows[i] for i in evenly_spaced(len(rows), 10)]
    classifier, scores = Classifier(), []
    for row in chosen:
        levels = np.asarray(Image.open(root / row["file"]))
        seed = robustness.seed_of(row["file"])
        p = classifier.classify(disturb(levels, "jpeg", 20, seed)).probabilities
        scores.append(p["malignant"] / (p["malignant"] + p["benign"]))
    area = roc_auc_score([row["label"] == "malignant" for row in chosen], scores)
    assert found["disturbed"][0]["auc"]["value"] == pytest.approx(area)
    change = found["disturbed"][0]["change"]["value"]
    assert change == pytest.approx(area - found["auc"]["value"])
    assert re.search(r"JPEG +20 quality", done.said)
    assert done.widest <= SCREEN


def test_one_label_has_no_auc_to_lose(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    write_set(tmp_path, {"benign": 3})
    table.write_text("file,label\n" + "".join(f"benign/scan ({n}).png,benign\n" for n in (1, 2, 3)))
    done = sonoforge("validate", "--external", f"own:{table}", "--robustness", 3, "--out", tmp_path / "runs")
    assert done.code == 0 and "disturbed" not in done.said
