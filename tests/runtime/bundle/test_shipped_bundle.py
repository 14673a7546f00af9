"""The bundle inside the base install: whole, small, honest about its figures, and wary of what it does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.trust import Cause
from sonoforge.runtime.verbs.verify import VerifyConfig, main


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def share_flagged(classifier: Classifier, files: list[Path]) -> float:
    answers = [classifier.classify(file) for file in files]
    return float(np.mean([not answer.trust.in_distribution for answer in answers]))


def share_abstained(classifier: Classifier, files: list[Path]) -> float:
    answers = [classifier.classify(file).trust.causes for file in files]
    return float(
        np.mean([bool({Cause.OTHER_KIND, Cause.POOR_SCAN, Cause.UNLIKE_TRAINING} & set(own)) for own in answers])
    )


def test_it_verifies_and_is_small_enough_to_ship() -> None:
    assert main(VerifyConfig()).exit_code == 0
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 12_000_000


def test_its_card_tells_the_left_out_figures_of_its_manifest() -> None:
    evaluation = open_bundle().manifest.raw["evaluation"]
    card = (SHIPPED / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert evaluation["protocol"] == "leave-one-collection-out" and evaluation["folds"] == 3
    confusion = np.array(evaluation["confusion"])
    assert confusion.sum() == 2911
    accuracy = np.trace(confusion) / confusion.sum()
    assert evaluation["accuracy"]["value"] == pytest.approx(accuracy)
    assert f"Accuracy {accuracy:.1%}" in card
    assert "a model that had seen neither it nor a near-duplicate of it in training" in card
    assert "so the figures are optimistic, by an amount that was not measured" in card
    for name in ("BUSI", "BUS-BRA", "BrEaST"):
        (row,) = (row for row in evaluation["by_source"] if (row["kind"], row["name"]) == ("collection", name))
        assert f"{row['auc']['malignant against benign']['value']:.3f}" in card


def test_golden_vectors_are_simulated_not_patients(classifier: Classifier) -> None:
    from sonoforge.training.phantom.dataset import generate_phantom_set

    golden = classifier.bundle.golden()["pixels"]
    drawn = [image.pixels for image in generate_phantom_set(len(golden), 0, golden.shape[1])]
    # The simulator is deterministic on one installation; another may round differently.
    difference = np.abs(golden[..., 0].astype(int) - np.stack(drawn).astype(int))
    assert np.median(difference) <= 1


def test_noise_and_black_frames_are_not_trusted(classifier: Classifier, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = []
    for index in range(8):
        pixels = rng.integers(0, 255, (300, 400)) if index % 2 else np.full((300, 400), index)
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(files[-1])
    assert share_flagged(classifier, files) == 1.0


@pytest.mark.parametrize(
    "pattern", ["MIAS/mdb0*0.png", "IDRiD/A. Segmentation/1. Original Images/*/*0.jpg", "Herlev/normal/*1.jpg"]
)
def test_other_organs_are_not_trusted(classifier: Classifier, shared: Path, pattern: str) -> None:
    files = sorted((shared / "data").glob(pattern))[:8]
    assert len(files) >= 3
    assert share_flagged(classifier, files) >= 0.9


def test_breast_scans_are_trusted_until_they_are_blurred(classifier: Classifier, shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "BUSI" / "Dataset_BUSI_with_GT"
    files = [folder / name / f"{name} ({number}).png" for name in ("normal", "benign") for number in range(2, 42, 4)]
    assert share_flagged(classifier, files) <= 0.2
    blurred = []
    for file in files:
        with Image.open(file) as image:
            size = tuple(side * 0.02 for side in image.size)
            blurred.append(tmp_path / file.name)
            image.convert("L").filter(ImageFilter.GaussianBlur(max(size))).save(blurred[-1])
    assert share_abstained(classifier, blurred) >= 0.8
