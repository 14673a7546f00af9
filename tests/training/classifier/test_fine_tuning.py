"""The training loop on a network small enough to check by hand; it has MobileNetV2's two attributes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sonoforge.models.torchvision_import import import_torchvision
from sonoforge.training.classifier import fine_tuning as module
from sonoforge.training.classifier.arms import (
    ARMS,
    duplicate_extra,
    fill_classes,
    generate_extra,
    missing_images,
    train_generators,
)
from sonoforge.training.classifier.fine_tuning import (
    ClassifierSettings,
    all_features,
    answer,
    augment,
    feature_inputs,
    fit,
    pixel_inputs,
)
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import setup
from sonoforge.training.gan.progress import tick_metrics
from sonoforge.training.gan.settings import GanSettings
from sonoforge.training.metrics.features import open_features

CPU = torch.device("cpu")


class SmallNet(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU6()),
            nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6()),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 3))


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is their brightness pattern: easy, so that learning can be seen."""
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 3
    pixels = rng.integers(0, 80, (48, 32, 32, 3)).astype(np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[label * 10 : label * 10 + 10] += 150
    return pixels, labels.astype(np.int64)


SETTINGS = ClassifierSettings(frozen_blocks=0, epochs=6, learning_rate=5e-2, batch=16, averaging=0.9)


def weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in net.state_dict().items()}


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_it_learns_and_reports_each_epoch(data: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = data
    net = SmallNet()
    rows: list[dict[str, float]] = []
    settings = dataclasses.replace(SETTINGS, epochs=25)
    history = fit(net, pixel_inputs(pixels, "flip", CPU), labels, settings, 1, on_epoch=rows.append)
    assert rows == history and len(history) == 25
    assert history[-1]["loss"] < history[0]["loss"]
    assert (answer([net], (pixels,), 0, CPU).probabilities.argmax(axis=1) == labels).mean() > 0.9


def test_a_run_killed_between_epochs_continues_to_the_same_weights(
    data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    pixels, labels = data
    inputs = pixel_inputs(pixels, "classical", CPU)
    whole = SmallNet()
    fit(whole, inputs, labels, SETTINGS, 3)

    class KilledError(Exception):
        pass

    def kill(row: dict[str, float]) -> None:
        if row["epoch"] == 4:
            raise KilledError

    with pytest.raises(KilledError):
        fit(SmallNet(), inputs, labels, SETTINGS, 3, checkpoint=tmp_path / "c.pt", on_epoch=kill)
    continued = SmallNet(seed=99)  # its own first weights must not matter
    history = fit(continued, inputs, labels, SETTINGS, 3, checkpoint=tmp_path / "c.pt")
    assert len(history) == SETTINGS.epochs
    assert_equal(weights(continued), weights(whole))


def test_training_on_cached_maps_equals_training_through_the_frozen_blocks(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    pixels, labels = data
    settings = dataclasses.replace(SETTINGS, frozen_blocks=1, augmentation="none")
    cached, through = SmallNet(), SmallNet()
    maps = all_features(cached, pixels, settings, 0, CPU)
    fit(cached, feature_inputs(maps), labels, settings, 0)

    def run_every_time(indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        rng.integers(0, 1, len(indices))  # the draw that the cache makes for its variant
        with torch.no_grad():
            images = pixel_inputs(pixels, "none", CPU)(indices, np.random.default_rng(0))
            return through.features[:1](images)

    fit(through, run_every_time, labels, settings, 0)
    for key, value in weights(cached).items():
        assert torch.allclose(value.double(), through.state_dict()[key].double(), atol=1e-5), key
    assert torch.equal(cached.features[0][0].weight, SmallNet().features[0][0].weight)
    assert torch.equal(cached.features[0][1].running_mean, torch.zeros(8))


def test_averaging_is_the_warmed_up_moving_average(data: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = data
    seen: list[dict[str, torch.Tensor]] = []
    original = module._update_average

    def spy(average: dict, state: dict, decay: float, step: int) -> None:
        original(average, state, decay, step)
        seen.append({key: value.clone() for key, value in state.items()})

    net = SmallNet()
    start = weights(net)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_update_average", spy)
        fit(net, pixel_inputs(pixels, "none", CPU), labels, SETTINGS, 0)
    expected = start["classifier.1.weight"].double()
    for step, state in enumerate(seen, 1):
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * state["classifier.1.weight"].double()
    assert torch.allclose(net.classifier[1].weight.double(), expected, atol=1e-5)


def test_class_weights_change_what_a_rare_class_counts(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels = np.array([0] * 30 + [1] * 10 + [2] * 5)
    found = module._class_weights(labels, 3, CPU)
    assert found.tolist() == pytest.approx([0.5, 1.5, 3.0])  # N / (C n_c), scikit-learn's "balanced"


def test_augment_flips_half_of_the_images_and_never_up_down() -> None:
    image = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(32, 32, 3).astype(np.uint8)
    rng = np.random.default_rng(0)
    results = [augment(image, "flip", rng) for _ in range(200)]
    flipped = sum(np.array_equal(r, image[:, ::-1]) for r in results)
    assert flipped + sum(np.array_equal(r, image) for r in results) == 200
    assert 75 <= flipped <= 125


def test_classical_augmentation_keeps_the_top_at_the_top() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:20] = 200
    rng = np.random.default_rng(0)
    for _ in range(50):
        changed = augment(image, "classical", rng).astype(float)
        assert changed.shape == image.shape
        assert changed[8:16].mean() > changed[-16:].mean() + 50


def test_placebo_and_balance_fill_every_class_up_to_the_largest() -> None:
    labels = np.array([0] * 4 + [1] * 9 + [2] * 6)
    pixels = np.random.default_rng(0).integers(0, 255, (19, 8, 8, 3)).astype(np.uint8)
    missing = missing_images(labels, 3)
    assert missing == {0: 5, 2: 3}
    extra = duplicate_extra(pixels, labels, missing, 0)
    assert np.bincount(np.concatenate([labels, extra.labels])).tolist() == [9, 9, 9]
    own = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
    assert all(own[image.tobytes()] == label for image, label in zip(extra.pixels, extra.labels, strict=True))


def test_generated_images_fill_up_and_their_generators_read_their_own_class_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 6 + [1] * 10)
    pixels = np.repeat(rng.integers(0, 255, (16, 32, 32, 1)), 3, axis=3).astype(np.uint8)
    gan = GanSettings(image_size=16, steps=2, batch=4)
    paths = train_generators(pixels, labels, ("few", "many"), tmp_path, gan, 0, "cpu")
    assert list(paths) == [0]
    extra = generate_extra(paths, missing_images(labels, 2), 32, 0)
    assert extra.pixels.shape == (4, 32, 32, 3) and extra.labels.tolist() == [0] * 4
    assert len(set(extra.hashes)) == 4
    again = train_generators(pixels, labels, ("few", "many"), tmp_path, gan, 0, "cpu")
    assert again == paths  # finished trainings are not repeated


@pytest.mark.parametrize("recipe", ["wgan-gp", "began", "dgan-wp-tl-bce"])
def test_any_recipe_can_fill_up_the_classes(recipe: str, tmp_path: Path) -> None:
    """The batch is lowered to the class; a perceptual term gets its feature network."""
    torch.manual_seed(0)
    weights = tmp_path / "squeezenet.safetensors"
    save_file(import_torchvision().models.squeezenet1_1(weights=None).state_dict(), weights)
    network = open_features(str(weights)).name if recipe == "dgan-wp-tl-bce" else ""
    gan = GanSettings(recipe=recipe, image_size=32, steps=1, batch=8, width=8, features=network)
    labels = np.array([0] * 3 + [1] * 6)
    pixels = np.random.default_rng(0).integers(0, 255, (9, 48, 48, 3)).astype(np.uint8)
    extra = fill_classes(
        *(ARMS["gan"], pixels, labels, ("few", "many"), tmp_path / "gan", gan, 0, "cpu"),
        features=str(weights) if network else "",
    )
    assert extra is not None
    assert extra.labels.tolist() == [0, 0, 0]
    assert extra.pixels.shape == (3, 48, 48, 3)


def test_the_best_checkpoint_is_chosen_on_groups_that_its_generator_did_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "squeezenet.safetensors"
    save_file(import_torchvision().models.squeezenet1_1(weights=None).state_dict(), weights)
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
        held_out=0.25,
    )
    labels = np.array([0] * 40 + [1] * 50)
    groups = np.arange(90) // 2  # pairs of one scan
    pixels = np.repeat(np.random.default_rng(0).integers(0, 255, (90, 32, 32, 1)), 3, axis=3).astype(np.uint8)
    chosen = train_generators(
        pixels, labels, ("few", "many"), tmp_path / "gan", gan, 0, "cpu", str(weights), groups=groups
    )[0]
    kids = {path: gan_checkpoint.describe(path).kid for path in gan_checkpoint.list_checkpoints(chosen.parent)}
    assert len(kids) == 3
    assert chosen == min(kids, key=lambda path: kids[path] or 0)
    own = {image[..., 0].tobytes(): group for image, group in zip(pixels, groups, strict=True)}
    read = [own[image[..., 0].tobytes()] for image in seen[0]]
    assert len(read) == 30
    assert len(set(read)) == 15  # both of a pair, or none


def test_every_arm_names_a_known_augmentation_and_filling() -> None:
    for arm in ARMS.values():
        assert arm.augmentation in module.VARIANTS
        assert arm.fill in ("", "gan", "duplicates")


def test_same_seed_gives_the_same_weights_whatever_the_global_state(data: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = data
    first, second = SmallNet(), SmallNet()
    fit(first, pixel_inputs(pixels, "flip", CPU), labels, SETTINGS, 7)
    torch.manual_seed(12345)
    np.random.default_rng(5)
    fit(second, pixel_inputs(pixels, "flip", CPU), labels, SETTINGS, 7)
    assert_equal(weights(first), weights(second))
