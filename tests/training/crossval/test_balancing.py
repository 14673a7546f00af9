"""The images that an arm adds: drawn, curated, or a placebo's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scans import draw_scan
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.copies.generated import least_groups
from sonoforge.training.crossval import balancing
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.balancing import (
    ALL_CLASSES,
    GeneratorJob,
    Scorer,
    at_size_drawn,
    balance,
    curate,
    draw_trained,
    shuffle_labels,
    train_generators,
)
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import engine, ticks
from sonoforge.training.gan import training as gan_training
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import Training
from sonoforge.training.gan.training_set import TrainingSet

NOTHING = GeneratorJob(GanSettings(), 0, "cpu", Path("unused"))


def no_scorer() -> Scorer:
    raise AssertionError("no arm but curated is scored")


def noise(counts: dict[str, int], side: int = 32) -> LabelledImages:
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    grey = np.random.default_rng(0).integers(0, 255, (len(labels), side, side, 1))
    return LabelledImages(np.repeat(grey, 3, axis=3).astype(np.uint8), labels, tuple(counts))


def test_duplicates_fill_every_class_up_to_the_largest_with_its_own_images() -> None:
    images = noise({"few": 4, "many": 9, "some": 6}, 8)
    extra = balance(find_arm("duplicates"), images, NOTHING, no_scorer)
    assert extra is not None
    assert np.bincount(np.concatenate([images.labels, extra.labels])).tolist() == [9, 9, 9]
    own = {image.tobytes(): label for image, label in zip(images.pixels, images.labels, strict=True)}
    assert all(own[image.tobytes()] == label for image, label in zip(extra.pixels, extra.labels, strict=True))
    assert balance(find_arm("real"), images, NOTHING, no_scorer) is None


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
        name: balance(find_arm(name), images, job, no_scorer)
        for name in ("gan", "gan:0.5", "gan:2", "gan-all", "generated:0.5", "shuffled", "untrained")
    }
    assert trained == ["few", "many"]
    counts = {name: own.counts.tolist() for name, own in added.items() if own is not None}
    assert counts == {
        "gan": [4, 0],
        "gan:0.5": [2, 0],
        "gan:2": [8, 0],
        "gan-all": [14, 10],
        "generated:0.5": [5, 5],
        "shuffled": [4, 0],
        "untrained": [4, 0],
    }
    drawn = {name: own.hashes for name, own in added.items() if own is not None}
    assert len(set(drawn["gan-all"])) == 24
    assert drawn["gan:0.5"] == drawn["gan"][:2] and drawn["gan"] == drawn["gan:2"][:4]
    assert not set(drawn["untrained"]) & set(drawn["gan-all"])
    both = set(drawn["gan-all"][:14]), set(drawn["gan-all"][14:])
    assert all(set(drawn["shuffled"]) & own for own in both), "of both classes, under the label of one"


def test_a_conditional_generator_learns_all_classes_and_is_asked_for_each(tmp_path: Path) -> None:
    gan = GanSettings(recipe="dcgan", image_size=32, steps=2, batch=4, width=4, conditioning="projection")
    images = noise({"few": 6, "many": 10})
    extra = balance(find_arm("gan-all:0.2"), images, GeneratorJob(gan, 0, "cpu", tmp_path), no_scorer)
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
    gan = (
        GanSettings(recipe="lsgan", image_size=size, steps=1, batch=4, width=4)
        if size > 16
        else GanSettings(image_size=16, steps=1, batch=4)
    )
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
    added = {name: balance(find_arm(name), images, job, no_scorer) for name in ("gan", "untrained")}
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
        balance(find_arm("gan"), noise({"few": 6, "many": 10}), replace(job, folder=tmp_path / "other"), no_scorer)


@pytest.mark.parametrize("recipe", ["wgan-gp", "began", "dgan-wp-tl-bce"])
def test_any_recipe_can_fill_up_the_classes(recipe: str, squeezenet_file: Path, tmp_path: Path) -> None:
    """The batch is lowered to the class; a perceptual term gets its feature network."""
    network = str(squeezenet_file) if recipe == "dgan-wp-tl-bce" else ""
    gan = GanSettings(recipe=recipe, image_size=32, steps=1, batch=8, width=8, features=network)
    labels = np.array([0] * 3 + [1] * 6)
    pixels = np.random.default_rng(0).integers(0, 255, (9, 48, 48, 3)).astype(np.uint8)
    images = LabelledImages(pixels, labels, ("few", "many"))
    extra = balance(find_arm("gan"), images, GeneratorJob(gan, 0, "cpu", tmp_path / "gan"), no_scorer)
    assert extra is not None
    assert extra.labels.tolist() == [0, 0, 0]
    assert extra.pixels.shape == (3, 48, 48, 3)


def test_the_best_checkpoint_is_chosen_on_groups_that_its_generator_did_not_see(
    squeezenet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "GENERATED", 8)
    monkeypatch.setattr(gan_checkpoint, "COLLAPSE_FRACTION", 0.0)  # nothing is vetoed
    seen: list[np.ndarray] = []
    trained_on = gan_training.expand
    monkeypatch.setattr(
        gan_training, "expand", lambda images, *rest: seen.append(images.pixels) or trained_on(images, *rest)
    )
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
    chosen = train_generators(images, [0], GeneratorJob(gan, 0, "cpu", tmp_path / "gan"))[0]
    kids = {path: gan_checkpoint.describe(path).kid for path in gan_checkpoint.list_checkpoints(chosen.parent)}
    assert len(kids) == 3
    assert chosen == min(kids, key=lambda path: kids[path] or 0)
    own = {image[..., 0].tobytes(): group for image, group in zip(pixels, groups, strict=True)}
    read = [own[image[..., 0].tobytes()] for image in seen[0]]
    assert len(read) == 30
    assert len(set(read)) == 15  # both of a pair, or none


def scans(first: int, count: int) -> np.ndarray:
    return np.stack([np.repeat(draw_scan(seed, 64)[..., None], 3, axis=2) for seed in range(first, first + count)])


def test_copies_poor_images_and_those_of_another_class_are_left_out() -> None:
    count = least_groups()
    real = LabelledImages(scans(0, count), np.arange(count) % 2, ("a", "b"), np.arange(count))
    fresh, copies = scans(1000, 6), real.pixels[:3, :, ::-1]
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    pixels = np.concatenate([copies, noise, fresh, fresh[:1] // 2 + 60])
    drawn = LabelledImages(pixels, np.zeros(len(pixels), np.int64), ("a", "b"))

    def score(images: np.ndarray) -> np.ndarray:
        """All but the last are called a."""
        return np.stack([np.arange(len(images)) < len(images) - 1, np.arange(len(images)) == len(images) - 1], 1) * 1.0

    kept, found = curate(drawn, {0: 2}, real, real.pixels, score)
    assert (found.drawn, found.not_recognised, found.kept) == (12, 1, 2)
    # A copy whose original is itself unusual, as one in ten is by one of six measures, is left out before.
    assert found.copies >= 2 and found.unusual >= 2 and found.copies + found.unusual >= 5
    assert set(kept.hashes) <= set(LabelledImages(fresh, np.zeros(6, np.int64), ("a", "b")).hashes)
    nobody, none = curate(drawn, {0: 2}, real, real.pixels, lambda images: np.tile([0.0, 1.0], (len(images), 1)))
    assert len(nobody) == none.kept == 0 and none.not_recognised == 12
    few = real.subset(np.arange(count - 1))
    with pytest.raises(SonoforgeError, match="38 near-duplicate groups"):
        curate(drawn, {0: 2}, few, few.pixels, score)


@pytest.mark.slow
def test_images_drawn_smaller_are_not_rejected_for_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """At half the resolution, scans are as usual among scans of half the resolution as sharp ones among sharp ones."""
    monkeypatch.setattr(
        balancing, "_copy_finder", lambda _: lambda pixels: np.zeros(len(pixels), np.bool_)
    )  # tested above
    real = LabelledImages(scans(0, 80), np.zeros(80, np.int64), ("a", "b"), np.arange(80))
    fresh, half = scans(1000, 20), GanSettings(recipe="dcgan", image_size=32)
    small = at_size_drawn(fresh, half)
    assert small.shape == fresh.shape and (small != fresh).any()

    def unusual(pixels: np.ndarray, as_drawn: np.ndarray) -> int:
        drawn = LabelledImages(pixels, np.zeros(len(pixels), np.int64), ("a", "b"))
        return curate(drawn, {0: 0}, real, as_drawn, lambda images: np.tile([1.0, 0.0], (len(images), 1)))[1].unusual

    assert unusual(small, real.pixels) == 20
    assert unusual(small, at_size_drawn(real.pixels, half)) <= unusual(fresh, real.pixels) + 3 <= 9
