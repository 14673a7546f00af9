"""Data sets cropped to their scans: the runtime's pixels, the same groups, and masks that stay on their lesions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import planted_marks as plant
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.labelled_images import read_masks, read_structures

SIZE = 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Screens with scans at other places, each with a white disc as lesion and its mask."""
    chance = np.random.default_rng(0)
    for index in range(4):
        folder = tmp_path / "set" / ("benign" if index % 2 else "malignant")
        folder.mkdir(parents=True, exist_ok=True)
        screen, mask = np.zeros((300, 420), np.uint8), np.zeros((300, 420), np.uint8)
        left, top = chance.integers(20, 120), chance.integers(20, 70)
        screen[top : top + 200, left : left + 260] = plant.speckle(200, 260, index)
        rows, columns = np.mgrid[:300, :420]
        disc = np.hypot(rows - top - chance.integers(60, 140), columns - left - chance.integers(60, 200)) < 30
        screen[disc], mask[disc] = 250, 255
        Image.fromarray(screen).save(folder / f"{index}.png")
        Image.fromarray(mask).save(folder / f"{index}_mask.png")
    return tmp_path / "set"


def opened(root: Path, crop: str) -> ImageCache:
    return open_cache(read_dataset(root), SIZE, root.parent / "cache", crop)


def test_pixels_are_those_of_the_runtime_and_the_cache_keeps_both(root: Path) -> None:
    prepared = Preprocessing(SIZE, crop="auto")
    for _ in range(2):  # decoded, then mapped
        whole, cropped = opened(root, "none"), opened(root, "auto")
        for index, item in enumerate(cropped.dataset.items):
            image = read_image(root / item.path)
            area = prepared.scan_area(image)
            assert area is not None and area.kept < 0.5
            assert tuple(cropped.boxes[index]) == area.box
            assert np.array_equal(cropped.images[index], prepared.resize(image.crop(area.box)))
            assert np.array_equal(whole.images[index], prepared.resize(image))
            assert tuple(whole.boxes[index]) == (0, 0, 420, 300)


def test_cropping_changes_neither_identity_nor_groups(root: Path) -> None:
    whole, cropped = opened(root, "none"), opened(root, "auto")
    assert (whole.hashes, whole.fingerprint) == (cropped.hashes, cropped.fingerprint)
    assert all(np.array_equal(a, b) for a, b in zip(whole.pictures, cropped.pictures, strict=True))
    assert np.array_equal(whole.sizes, cropped.sizes)


@pytest.mark.parametrize("crop", ["none", "auto"])
def test_masks_stay_on_their_lesions(root: Path, crop: str) -> None:
    cache = opened(root, crop)
    masks = read_masks(cache, np.arange(4), root.parent / "cache")
    for image, mask in zip(cache.images[..., 0], masks, strict=True):
        white = image > 225
        assert white.sum() > 30
        assert (white & (mask > 128)).sum() >= 0.95 * white.sum()
        assert image[mask > 250].min() > 225
    shown = (cache.boxes[:, 2] - cache.boxes[:, 0]) * (cache.boxes[:, 3] - cache.boxes[:, 1])
    assert (masks > 128).mean(axis=(1, 2)) == pytest.approx(np.pi * 30**2 / shown, rel=0.1)


def test_structures_that_overlap_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "eye"
    folder.mkdir(parents=True)
    Image.new("L", (16, 16)).save(folder / "a.png")
    for name, box in (("disc", (2, 2, 12, 12)), ("cup", (4, 4, 8, 8))):
        mask = Image.new("L", (16, 16))
        mask.paste(255, box)
        mask.save(folder / f"a_mask_{name}.png")
    dataset = read_dataset(tmp_path / "set", 1)
    cache = open_cache(dataset, 16, tmp_path / "cache")
    read_structures(cache, np.arange(1), tmp_path / "cache")
    with pytest.raises(SonoforgeError, match=r"a.png: masks of cup and disc overlap"):
        read_structures(cache, np.arange(1), tmp_path / "cache", disjoint=True)
