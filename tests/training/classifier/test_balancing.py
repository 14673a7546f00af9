"""Small classes filled up to the size of the largest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoforge.training.classifier import balancing
from sonoforge.training.classifier.balancing import (
    GeneratorJob,
    balance,
    duplicate_images,
    generate_images,
    missing_images,
    train_generators,
)
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import setup
from sonoforge.training.gan.batches.training_set import TrainingSet
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.progress import tick_metrics


def test_placebo_and_balance_fill_every_class_up_to_the_largest() -> None:
    labels = np.array([0] * 4 + [1] * 9 + [2] * 6)
    pixels = np.random.default_rng(0).integers(0, 255, (19, 8, 8, 3)).astype(np.uint8)
    images = LabelledImages(pixels, labels, ("few", "many", "some"))
    assert missing_images(images) == {0: 5, 2: 3}
    extra = duplicate_images(images, 0)
    assert np.bincount(np.concatenate([labels, extra.labels])).tolist() == [9, 9, 9]
    own = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
    assert all(own[image.tobytes()] == label for image, label in zip(extra.pixels, extra.labels, strict=True))


def test_generated_images_fill_up_and_their_generators_read_their_own_class_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 6 + [1] * 10)
    pixels = np.repeat(rng.integers(0, 255, (16, 32, 32, 1)), 3, axis=3).astype(np.uint8)
    gan = GanSettings(image_size=16, steps=2, batch=4)
    images = LabelledImages(pixels, labels, ("few", "many"))
    job = GeneratorJob(gan, 0, "cpu", tmp_path)
    paths = train_generators(images, job)
    assert list(paths) == [0]
    extra = generate_images(paths, images, 0)
    assert extra.pixels.shape == (4, 32, 32, 3) and extra.labels.tolist() == [0] * 4
    assert len(set(extra.hashes)) == 4
    assert train_generators(images, job) == paths  # finished trainings are not repeated


@pytest.mark.parametrize(("size", "expected"), [(64, 64), (32, 32), (16, 16)])
def test_a_generator_larger_than_the_classifier_s_images_learns_from_files_not_from_enlarged_pixels(
    size: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    files = rng.integers(0, 255, (12, 64, 64, 3)).astype(np.uint8)
    labels = np.array([0] * 4 + [1] * 8)
    images = LabelledImages(files[:, ::2, ::2], labels, ("few", "many"), None, lambda side: files[:, :side, :side])
    seen: list[np.ndarray] = []
    make = balancing.make_training_set

    def note(pixels: np.ndarray, *rest: Any, **named: Any) -> TrainingSet:
        seen.append(pixels)
        return make(pixels, *rest, **named)

    monkeypatch.setattr(balancing, "make_training_set", note)
    gan = (
        GanSettings(recipe="lsgan", image_size=size, steps=1, batch=4, width=4)
        if size > 16
        else GanSettings(image_size=16, steps=1, batch=4)
    )
    paths = train_generators(images, GeneratorJob(gan, 0, "cpu", tmp_path))
    np.testing.assert_array_equal(seen[0], files[:4] if size > 32 else images.pixels[:4])
    extra = generate_images(paths, images, 0)
    assert extra.pixels.shape == (4, 32, 32, 3), "at the classifier's own size, whatever the generator's"
    assert gan_checkpoint.describe(paths[0]).generator_options["image_size"] == expected


@pytest.mark.parametrize("recipe", ["wgan-gp", "began", "dgan-wp-tl-bce"])
def test_any_recipe_can_fill_up_the_classes(recipe: str, squeezenet_file: Path, tmp_path: Path) -> None:
    """The batch is lowered to the class; a perceptual term gets its feature network."""
    network = str(squeezenet_file) if recipe == "dgan-wp-tl-bce" else ""
    gan = GanSettings(recipe=recipe, image_size=32, steps=1, batch=8, width=8, features=network)
    labels = np.array([0] * 3 + [1] * 6)
    pixels = np.random.default_rng(0).integers(0, 255, (9, 48, 48, 3)).astype(np.uint8)
    images = LabelledImages(pixels, labels, ("few", "many"))
    extra = balance("gan", images, GeneratorJob(gan, 0, "cpu", tmp_path / "gan"))
    assert extra is not None
    assert extra.labels.tolist() == [0, 0, 0]
    assert extra.pixels.shape == (3, 48, 48, 3)


def test_the_best_checkpoint_is_chosen_on_groups_that_its_generator_did_not_see(
    squeezenet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick_metrics, "GENERATED", 8)
    monkeypatch.setattr(gan_checkpoint, "COLLAPSE_FRACTION", 0.0)  # nothing is vetoed
    seen: list[np.ndarray] = []
    trained_on = setup.expand
    monkeypatch.setattr(setup, "expand", lambda images, *rest: seen.append(images.pixels) or trained_on(images, *rest))
    gan = GanSettings(
        recipe="lsgan",
        image_size=32,
        steps=60,
        tick_steps=20,
        keep=3,
        batch=4,
        width=4,
        metrics=("kid",),
        features=str(squeezenet_file),
        held_out=0.25,
    )
    labels = np.array([0] * 40 + [1] * 50)
    groups = np.arange(90) // 2  # pairs of one scan
    pixels = np.repeat(np.random.default_rng(0).integers(0, 255, (90, 32, 32, 1)), 3, axis=3).astype(np.uint8)
    images = LabelledImages(pixels, labels, ("few", "many"), groups)
    chosen = train_generators(images, GeneratorJob(gan, 0, "cpu", tmp_path / "gan"))[0]
    kids = {path: gan_checkpoint.describe(path).kid for path in gan_checkpoint.list_checkpoints(chosen.parent)}
    assert len(kids) == 3
    assert chosen == min(kids, key=lambda path: kids[path] or 0)
    own = {image[..., 0].tobytes(): group for image, group in zip(pixels, groups, strict=True)}
    read = [own[image[..., 0].tobytes()] for image in seen[0]]
    assert len(read) == 30
    assert len(set(read)) == 15  # both of a pair, or none
