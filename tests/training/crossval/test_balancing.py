"""The images that an arm adds: drawn, or a placebo's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.crossval import balancing
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.balancing import (
    ALL_CLASSES,
    GeneratorJob,
    balance,
    draw_trained,
    shuffle_labels,
    train_generators,
)
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import engine
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import Training
from sonoforge.training.gan.training_set import TrainingSet

NOTHING = GeneratorJob(GanSettings(), 0, "cpu", Path("unused"))


def noise(counts: dict[str, int], side: int = 32) -> LabelledImages:
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    grey = np.random.default_rng(0).integers(0, 255, (len(labels), side, side, 1))
    return LabelledImages(np.repeat(grey, 3, axis=3).astype(np.uint8), labels, tuple(counts))


def test_duplicates_fill_every_class_up_to_the_largest_with_its_own_images() -> None:
    images = noise({"few": 4, "many": 9, "some": 6}, 8)
    extra = balance(find_arm("duplicates"), images, NOTHING)
    assert extra is not None
    assert np.bincount(np.concatenate([images.labels, extra.labels])).tolist() == [9, 9, 9]
    own = {image.tobytes(): label for image, label in zip(images.pixels, images.labels, strict=True)}
    assert all(own[image.tobytes()] == label for image, label in zip(extra.pixels, extra.labels, strict=True))
    assert balance(find_arm("real"), images, NOTHING) is None


def test_all_doses_and_placebos_draw_from_generators_that_are_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    train = engine.train_gan

    def count(training: Training, folder: Path, **named: Any) -> Path:
        trained.extend(training.originals.classes if not (folder / "results.json").is_file() else [])
        return train(training, folder, **named)

    monkeypatch.setattr(engine, "train_gan", count)
    images = noise({"few": 6, "many": 10})
    job = GeneratorJob(GanSettings(image_size=16, steps=2, batch=4), 0, "cpu", tmp_path)
    added = {
        name: balance(find_arm(name), images, job)
        for name in ("gan", "gan:0.5", "gan:2", "gan-all", "generated:0.5", "shuffled", "untrained")
    }
    assert trained == ["few", "many"]
    counts = {name: own.counts.tolist() for name, own in added.items() if own is not None}
    assert counts == {
        "gan": [4, 0], "gan:0.5": [2, 0], "gan:2": [8, 0], "gan-all": [14, 10], "generated:0.5": [5, 5],
        "shuffled": [4, 0], "untrained": [4, 0],
    }  # fmt: skip
    drawn = {name: own.hashes for name, own in added.items() if own is not None}
    assert len(set(drawn["gan-all"])) == 24
    assert drawn["gan:0.5"] == drawn["gan"][:2] and drawn["gan"] == drawn["gan:2"][:4]
    assert not set(drawn["untrained"]) & set(drawn["gan-all"])
    both = set(drawn["gan-all"][:14]), set(drawn["gan-all"][14:])
    assert all(set(drawn["shuffled"]) & own for own in both), "of both classes, under the label of one"


def test_a_conditional_generator_learns_all_classes_and_is_asked_for_each(tmp_path: Path) -> None:
    gan = GanSettings(recipe="dcgan", image_size=32, steps=2, batch=4, width=4, conditioning="projection")
    images = noise({"few": 6, "many": 10})
    extra = balance(find_arm("gan-all:0.2"), images, GeneratorJob(gan, 0, "cpu", tmp_path))
    assert extra is not None and extra.counts.tolist() == [6, 2]
    assert [path.name for path in tmp_path.iterdir()] == [ALL_CLASSES]
    about = gan_checkpoint.describe(gan_checkpoint.find_checkpoint(tmp_path / ALL_CLASSES))
    assert about.classes == ["few", "many"] and len(set(extra.hashes)) == 8


def test_shuffled_labels_keep_their_numbers_and_say_nothing_of_the_images() -> None:
    images = noise({"a": 3000, "b": 3000, "c": 3000}, 2)
    shuffled = shuffle_labels(images, {0: 1500, 2: 6000}, 0)
    assert shuffled.counts.tolist() == [1500, 0, 6000]
    true = {image.tobytes(): label for image, label in zip(images.pixels, images.labels, strict=True)}
    of_first = np.array([true[image.tobytes()] for image in shuffled.of(0).pixels])
    # Binomial, 1500 of a third each: standard deviation 18; identical pixels of two classes are one in 65536.
    assert all(abs(np.sum(of_first == label) - 500) < 90 for label in range(3))


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
    other = {"recipe": "lsgan", "width": 4} if size > 16 else {}
    gan = GanSettings(image_size=size, steps=1, batch=4, **other)  # type: ignore[arg-type]
    paths = train_generators(images, [0], GeneratorJob(gan, 0, "cpu", tmp_path))
    np.testing.assert_array_equal(seen[0], files[:4] if size > 32 else images.pixels[:4])
    extra = draw_trained(paths, {0: 4}, images, 0)
    assert extra.pixels.shape == (4, 32, 32, 3), "at the classifier's own size, whatever the generator's"
    assert gan_checkpoint.describe(paths[0]).generator_options["image_size"] == expected


@pytest.mark.parametrize("conditioning", ["none", "projection"])
def test_masks_are_learned_with_the_images_and_the_classifier_gets_the_images_alone(
    conditioning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bright discs and their masks: the masks that are drawn belong to their images, in any order of these."""
    side = 64
    y, x = np.mgrid[:side, :side]
    discs = np.stack([(y - 32) ** 2 + (x - 16 - 2 * i) ** 2 < 120 for i in range(16)]) * np.uint8(255)
    pixels = np.repeat((discs // 2 + 40)[..., None], 3, axis=3)
    asked: list[int] = []

    def masks(at: int) -> np.ndarray:
        asked.append(at)
        return discs

    images = LabelledImages(pixels, np.array([0] * 6 + [1] * 10), ("few", "many"), masks=masks)
    seen: list[TrainingSet] = []
    train = engine.train_gan

    def note(training: Training, *rest: Any, **named: Any) -> Path:
        seen.append(training.originals)
        return train(training, *rest, **named)

    monkeypatch.setattr(engine, "train_gan", note)
    gan = GanSettings(
        recipe="dcgan", image_size=32, steps=2, batch=4, width=4, conditioning=conditioning, masks=True, channels="1"
    )
    job = GeneratorJob(gan, 0, "cpu", tmp_path)
    added = {name: balance(find_arm(name), images, job) for name in ("gan", "untrained")}
    (training,) = seen
    assert asked[0] == side, "in the geometry of the images, before they are brought to the generator's size"
    assert training.pixels.shape == (6 if conditioning == "none" else 16, 32, 32, 2)
    inside = training.pixels[..., 1] == 255
    assert (inside == (training.pixels[..., 0] >= 104)).mean() > 0.99, "each mask on its own image"
    for extra in added.values():
        assert extra is not None and extra.pixels.shape == (4, side, side, 3)
        assert np.array_equal(extra.pixels[..., 0], extra.pixels[..., 1])
        assert extra.masks is not None
        turned = extra.subset(np.array([3, 0]))
        assert turned.masks is not None
        assert extra.masks(side).shape == (4, side, side)
        assert np.array_equal(turned.masks(32), extra.masks(32)[[3, 0]])
        assert not set(np.unique(turned.masks(32))) - {0, 255}
    with pytest.raises(SonoforgeError, match=r"generator of .*NAME_mask.png"):
        balance(find_arm("gan"), noise({"few": 6, "many": 10}), replace(job, folder=tmp_path / "other"))


@pytest.mark.parametrize("recipe", ["wgan-gp", "began", "dgan-wp-tl-bce"])
def test_any_recipe_can_fill_up_the_classes(recipe: str, squeezenet_file: Path, tmp_path: Path) -> None:
    """The batch is lowered to the class; a perceptual term gets its feature network."""
    network = str(squeezenet_file) if recipe == "dgan-wp-tl-bce" else ""
    gan = GanSettings(recipe=recipe, image_size=32, steps=1, batch=8, width=8, features=network)
    labels = np.array([0] * 3 + [1] * 6)
    pixels = np.random.default_rng(0).integers(0, 255, (9, 48, 48, 3)).astype(np.uint8)
    images = LabelledImages(pixels, labels, ("few", "many"))
    extra = balance(find_arm("gan"), images, GeneratorJob(gan, 0, "cpu", tmp_path / "gan"))
    assert extra is not None
    assert extra.labels.tolist() == [0, 0, 0]
    assert extra.pixels.shape == (3, 48, 48, 3)
