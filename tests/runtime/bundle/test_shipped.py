"""The shipped bundles: whole, small, honest about their figures, and wary of what they do not know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from program import succeed
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.manifest import DIGEST, SHIPPED_DIGESTS, Manifest
from sonoforge.runtime.bundle.reader import SHIPPED, SHIPPED_GENERATOR, open_bundle
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.trust import Cause


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def share(classifier: Classifier, files: list[Path], *causes: Cause) -> float:
    """The share of files that it does not trust, of one of these causes."""
    return float(np.mean([bool(set(causes) & set(classifier.classify(file).trust.causes)) for file in files]))


UNLIKE = (Cause.OTHER_KIND, Cause.UNLIKE_TRAINING)


def test_they_verify_and_are_small_enough_to_ship() -> None:
    found = {}
    for folder, most in ((SHIPPED, 13_000_000), (SHIPPED_GENERATOR, 2_600_000)):
        bundle, done = open_bundle(folder, Manifest), succeed("verify", folder).json
        found[bundle.manifest.title] = bundle.manifest.raw[DIGEST]
        assert done["ok"]
        assert sum(path.stat().st_size for path in folder.iterdir()) <= most
    assert found == SHIPPED_DIGESTS, f"a bundle was made again: let SHIPPED_DIGESTS of bundle/manifest.py be {found}"


def test_its_card_tells_the_left_out_figures_of_its_manifest() -> None:
    evaluation = open_bundle().manifest.raw["evaluation"]
    card = (SHIPPED / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert evaluation["protocol"] == "leave-one-collection-out" and evaluation["folds"] == 4
    confusion = np.array(evaluation["confusion"])
    assert confusion.sum() == 3713
    accuracy = np.trace(confusion) / confusion.sum()
    assert evaluation["accuracy"]["value"] == pytest.approx(accuracy)
    assert f"Accuracy {accuracy:.1%}" in card
    assert "a model that had seen neither it nor a near-duplicate of it in training" in card
    assert "so the figures are optimistic, by an amount that was not measured" in card
    for name in ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC"):
        (row,) = (row for row in evaluation["by_source"] if (row["kind"], row["name"]) == ("collection", name))
        assert f"{row['auc']['malignant against benign']['value']:.3f}" in card


def test_golden_vectors_are_simulated_not_patients(classifier: Classifier) -> None:
    from sonoforge.training.phantom.dataset import generate_phantom_set

    golden = classifier.bundle.golden()["pixels"]
    drawn = [image.pixels for image in generate_phantom_set(len(golden), 0, golden.shape[1])]
    # The simulator is deterministic on one installation; another may round differently.
    difference = np.abs(golden[..., 0].astype(int) - np.stack(drawn).astype(int))
    assert np.median(difference) <= 1


@pytest.mark.parametrize(
    "pattern", ["MIAS/mdb0*0.png", "IDRiD/A. Segmentation/1. Original Images/*/*0.jpg", "Herlev/normal/*1.jpg"]
)
def test_other_organs_are_not_trusted(classifier: Classifier, shared: Path, pattern: str) -> None:
    files = sorted((shared / "data").glob(pattern))[:8]
    assert len(files) >= 3
    assert share(classifier, files, *UNLIKE) >= 0.9


def test_breast_scans_are_trusted_until_they_are_blurred(classifier: Classifier, shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "BUSI" / "Dataset_BUSI_with_GT"
    files = [folder / name / f"{name} ({number}).png" for name in ("normal", "benign") for number in range(2, 42, 4)]
    assert share(classifier, files, *UNLIKE) <= 0.2
    blurred = []
    for file in files:
        with Image.open(file) as image:
            size = tuple(side * 0.02 for side in image.size)
            blurred.append(tmp_path / file.name)
            image.convert("L").filter(ImageFilter.GaussianBlur(max(size))).save(blurred[-1])
    assert share(classifier, blurred, *UNLIKE, Cause.POOR_SCAN) >= 0.8


CLASSES = ("benign", "malignant")


def test_one_command_draws_marked_images_of_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = Path(succeed("gan", "sample", "--bundle", "shipped", "--class", "all", "--count", "3").json["target"])
    assert target.is_relative_to(tmp_path), "not where the program is installed"
    seen = set()
    for name in CLASSES:
        masks = sorted((target / name).glob("*_mask.png"))
        files = sorted({*(target / name).glob("*.png")} - {*masks})
        assert len(files) == len(masks) == 3
        for file in files:
            with Image.open(file) as image:
                assert image.size == (64, 64) and image.mode == "L" and np.ptp(np.asarray(image)) > 40
                assert "synthetic" in json.dumps(image.info).lower()
                seen.add(image.tobytes())
    assert len(seen) == 6


def test_its_card_has_terms_figures_and_the_copy_test() -> None:
    manifest = open_bundle(SHIPPED_GENERATOR, GeneratorManifest).manifest
    card = (SHIPPED_GENERATOR / "MODEL_CARD.md").read_text(encoding="utf-8")
    training = manifest.raw["training"]
    assert manifest.classes == CLASSES
    assert {own["name"] for own in training["sources"]} == {"BUS-UC", "BUS-BRA", "BrEaST"}
    for own in training["sources"]:
        assert own["licence"] in card and own["citation"] in card
    measured = training["measured"]
    assert "held out" in card and measured["real_images"] > 250
    kid = next(row for row in measured["metrics"] if row["title"] == "KID")
    assert "squeezenet" not in kid["space"], "the network that its discriminator saw through"
    assert f"| KID | {kid['space']} | {kid['matched']:.3g} |" in card
    copies = measured["copies"]
    assert copies["copies"] <= 0.02 * copies["images"]
    found = dict(copies["recall"])
    assert found.pop("third of the size in black") < 0.9, "a copy that this search misses; the second search has it"
    assert min(found.values()) >= 0.9
