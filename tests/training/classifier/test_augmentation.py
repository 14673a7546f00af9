"""Random changes of training images."""

from __future__ import annotations

import numpy as np

from sonoforge.training.classifier.arms import ARMS
from sonoforge.training.classifier.augmentation import VARIANTS, augment


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


def test_every_arm_names_a_known_augmentation_and_filling() -> None:
    for arm in ARMS.values():
        assert arm.augmentation in VARIANTS
        assert arm.fill in ("", "gan", "duplicates")
