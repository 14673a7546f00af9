"""Lesions are cut out by U-Nets of the training fold: whose masks these read, what they outline, and the filter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from disc_volumes import draw_pair
from program import succeed, words
from scans import write_set
from sonoforge.training.comparators import fitting, segmenting
from sonoforge.training.comparators.segmenting import enhance, outline_lesions
from sonoforge.training.crossval.fold_task import FoldResult, read_fold
from sonoforge.training.segmentation.options import UNETS
from sonoforge.training.segmentation.pairs import Pairs

needs_monai = pytest.mark.skipif(find_spec("monai") is None, reason="monai is not installed")
CPU = torch.device("cpu")


@needs_monai
@pytest.mark.slow
def test_a_fold_reads_the_masks_of_its_training_images_alone(
    tmp_path: Path, squeezenet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmenting, "UNET", dataclasses.replace(UNETS["quick"], steps=3, batch=4, width=4))
    monkeypatch.setattr(fitting, "EPOCHS", 2)
    scans, chance = write_set(tmp_path / "scans", {"benign": 8, "malignant": 8}), np.random.default_rng(0)

    def draw_masks(files: list[str]) -> None:
        for path in (scans / file for file in files):
            with Image.open(path) as scan:
                mask = 255 * chance.integers(0, 2, (scan.height, scan.width)).astype(np.uint8)
            Image.fromarray(mask).save(path.with_name(f"{path.stem}_mask.png"))

    def folds(out: str) -> Iterator[FoldResult]:
        given = words("--protocol sealed --folds 2 --arms edlcds-segmented-squeezenet-only --jobs 1 --device cpu")
        given += ["--set", f"crossval.comparator_weights=squeezenet1_1={squeezenet_file}"]
        given += ["--set", f"cache.folder={tmp_path / 'cache'}", "--out", str(tmp_path / out)]
        run = Path(succeed("crossval", "--data", scans, *given).json["run"])
        return map(read_fold, sorted((run / "folds").glob("*.json")))

    draw_masks([path.relative_to(scans).as_posix() for path in scans.rglob("*.png")])
    first, second = folds("before")
    draw_masks(first.files)
    again, other = folds("after")
    assert again.files == first.files and again.probabilities == first.probabilities
    assert other.probabilities != second.probabilities, "these masks are of training images here"


def test_no_u_net_outlines_an_image_whose_group_it_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    count, tested = 24, 5
    labels, groups = np.arange(count) % 2, np.arange(count) // 3 * 2 + np.arange(count) % 2
    images = (
        np.zeros((count + tested, 64, 64, 1), np.uint8) + np.arange(count + tested, dtype=np.uint8)[:, None, None, None]
    )
    learned: list[set[int]] = []
    asked: list[set[int]] = []

    def train(pairs: Pairs, *_: object, **__: object) -> None:
        learned.append(set(pairs.images[:, 0, 0, 0].tolist()))

    def predict(_network: None, own: Any, _device: object) -> Any:
        asked.append(set(own[:, 0, 0, 0].tolist()))
        return own[..., 0] % 2

    monkeypatch.setattr(segmenting, "train_unet", train)
    monkeypatch.setattr(segmenting, "predict", predict)
    found = outline_lesions(images, np.zeros((count, 64, 64), np.uint8), labels, groups, 0, CPU)
    assert np.array_equal(found, images % 2 == 1), "each answer is at its image's place"
    assert [len(own) for own in asked[:2]] == [12, 12] and asked[0] | asked[1] == set(range(count)) == learned[2]
    assert asked[2] == set(range(count, count + tested))
    for one, other in zip(learned[:2], asked[:2], strict=True):
        assert not set(groups[list(one)]) & set(groups[list(other)])


@needs_monai
def test_outlines_are_those_of_the_lesion_in_images_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        segmenting, "UNET", dataclasses.replace(UNETS["quick"], steps=30, batch=8, width=8, learning_rate=0.01)
    )
    chance = np.random.default_rng(0)
    pairs = [draw_pair(chance) for _ in range(56)]
    images = np.stack([image for image, _ in pairs]).repeat(2, 1).repeat(2, 2)[..., None]
    truth = np.stack([own > 0 for _, own in pairs]).repeat(2, 1).repeat(2, 2)
    small = segmenting.to_side(255 * truth[:40, ..., None].astype(np.uint8), segmenting.SIDE)[..., 0]
    found = outline_lesions(images, small, np.arange(40) % 2, np.arange(40), 0, CPU)[..., 0]
    for part in (slice(0, 40), slice(40, None)):
        dice = 2 * (found[part] & truth[part]).sum() / (found[part].sum() + truth[part].sum())
        print(f"Dice {dice:.3f}")
        assert dice > 0.8


def test_noise_is_filtered_as_wiener_does_and_contrast_grows() -> None:
    chance = np.random.default_rng(0)
    grey = (100 + 20 * (np.arange(64) // 16 % 2)[:, None] + chance.normal(0, 2, (64, 64))).round().astype(np.uint8)
    (found,) = enhance(np.repeat(grey[None, ..., None], 3, axis=3))
    assert found.shape == (64, 64, 1) and found.dtype == np.uint8
    assert found.std() > 1.2 * grey.std()
    # Slowly: local mean and variance over 3 x 3 pixels; the noise is the mean variance (Lim 1990, page 548).
    padded = np.pad(grey.astype(np.float64), 1)
    near = np.stack([padded[i : i + 64, j : j + 64] for i in range(3) for j in range(3)])
    mean, variance = near.mean(0), near.var(0)
    calm = mean + np.maximum(0, 1 - variance.mean() / variance) * (grey - mean)
    alike = segmenting.cv2.createCLAHE(2.0, (8, 8)).apply(calm.round().clip(0, 255).astype(np.uint8))
    assert (found[..., 0] == alike).mean() > 0.99


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_flat_image_stays_nearly_flat(level: int) -> None:
    """The filter divides by the variance."""
    assert np.ptp(enhance(np.full((1, 48, 48, 3), level, np.uint8))[0, 4:-4, 4:-4].astype(int)) <= 16
