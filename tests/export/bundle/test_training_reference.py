"""``export --reference``: a generator's training images in a classifier's features, and no others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from gan_trainings import write_pictures
from program import refused, succeed, words
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.classifier import Classifier

pytestmark = pytest.mark.slow

TRAIN = words("gan train --recipe dcgan --set gan.width=8 --conditioning projection --image-size 32")
TRAIN += ["--set", "gan.batch=8", "--steps", "1", "--set", "gan.metrics=none", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a generator trained on two thirds of them, a classifier, and the exported bundle."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "pictures").mkdir()
    write_pictures(folder / "pictures", 12)
    succeed(*TRAIN, "--set", "gan.held_out=0.34", "--data", folder / "pictures", "--out", folder / "runs")
    factory.write_bundle(folder / "classifier")
    (run,) = (folder / "runs").iterdir()
    succeed("export", run, "--reference", folder / "classifier", "--out", folder / "bundle")
    return folder


def test_the_images_of_the_training_are_recorded_and_not_those_held_out(folder: Path) -> None:
    bundle = open_bundle(folder / "bundle", GeneratorManifest)
    reference = bundle.manifest.reference
    assert reference is not None
    arrays = bundle.arrays("reference.npz", reference.arrays)
    classifier = Classifier(folder / "classifier")
    assert reference.model == classifier.model
    assert sum(reference.images.values()) == len(arrays["embeddings"]) == 16
    assert {name: (arrays["labels"] == k).sum() for k, name in enumerate(bundle.classes)} == reference.images
    expected = {}
    for file in sorted((folder / "pictures").glob("*/*.png")):
        with Image.open(file) as picture:  # to the cache's 224 pixels, then to the generator's 32: as in training
            seen = picture.resize((224, 224), Image.Resampling.BILINEAR).resize((32, 32), Image.Resampling.BILINEAR)
            expected[file] = classifier.classify(seen).embedding
    for row, label in zip(arrays["embeddings"].astype(float), arrays["labels"], strict=True):
        distances = {file: np.abs(row - value).max() for file, value in expected.items()}
        nearest = min(distances, key=lambda file: distances[file])
        assert distances.pop(nearest) < 0.05 * min(distances.values()) + 0.02
        assert nearest.parent.name == bundle.classes[label]


def test_other_images_than_those_of_the_training_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pictures", tmp_path / "pictures")
    (tmp_path / "pictures" / "benign" / "0.png").unlink()
    (run,) = (folder / "runs").iterdir()
    given = ["--reference", folder / "classifier", "--data", tmp_path / "pictures", "--out", tmp_path / "bundle"]
    assert "give its images with --data" in refused("export", run, *given)
    assert not (tmp_path / "bundle").exists()


def test_a_reference_is_for_generators_alone(folder: Path) -> None:
    line = refused("export", folder / "classifier", "--reference", "shipped")
    assert "is no run of gan train" in line


def test_a_reference_without_its_file_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "bundle", tmp_path / "bundle")
    factory.edit_manifest(tmp_path / "bundle", lambda manifest: manifest.update(reference=None))
    line = refused("gan", "sample", "--bundle", tmp_path / "bundle", "--out", tmp_path / "drawn")
    assert "requires the file" in line
