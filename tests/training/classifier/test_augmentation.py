"""Random changes of training images."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from PIL import Image

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.training.classifier.augmentation import IN_WORDS, VARIANTS, augment, draw_change
from sonoforge.training.crossval.arms import ARMS


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


def test_trivial_augmentation_is_torchvision_s_and_follows_its_seed_alone() -> None:
    image = np.random.default_rng(1).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    torch.manual_seed(5)
    first = [augment(image, "trivial", np.random.default_rng(seed)) for seed in range(12)]
    after = torch.rand(1)
    torch.manual_seed(6)
    again = [augment(image, "trivial", np.random.default_rng(seed)) for seed in range(12)]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    torch.manual_seed(5)
    assert torch.rand(1) == after, "the generator of the training was drawn from"
    assert len({changed.tobytes() for changed in first}) > 8
    rng = np.random.default_rng(3)
    flip, seed = rng.random() < 0.5, int(rng.integers(2**63))
    torch.manual_seed(seed)
    theirs = import_torchvision().transforms.TrivialAugmentWide()(
        Image.fromarray(np.ascontiguousarray(image[:, ::-1] if flip else image))
    )
    np.testing.assert_array_equal(augment(image, "trivial", np.random.default_rng(3)), np.asarray(theirs))


# TrivialAugmentWide's operations in the order that torchvision documents; the second to the sixth move pixels.
OPERATIONS = ["Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", *["grey levels"] * 8]


def test_a_mask_follows_trivial_augmentation_where_that_moves_pixels() -> None:
    rows, columns = np.mgrid[:64, :64]
    mask = (255 * ((rows - 24) ** 2 + (columns - 36) ** 2 < 150)).astype(np.uint8)
    image = np.repeat(mask[..., None], 3, 2)
    seen = set()
    for seed in range(60):
        change = draw_change("trivial", 64, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        flip = rng.random() < 0.5
        torch.manual_seed(int(rng.integers(2**63)))
        operation = OPERATIONS[int(torch.randint(len(OPERATIONS), (1,)))]
        seen.add(operation)
        moved, flipped = change.place_mask(mask), mask[:, ::-1] if flip else mask
        if operation in OPERATIONS[1:6]:
            np.testing.assert_array_equal(moved, change.apply(image)[..., 0])
        else:
            np.testing.assert_array_equal(moved, flipped)
    assert seen == set(OPERATIONS)


def test_labels_see_what_trivial_shows_and_only_the_taught_see_what_clinics_send() -> None:
    image = np.random.default_rng(1).integers(0, 255, (48, 48, 3)).astype(np.uint8)
    for seed in range(12):
        trivial, untaught = (augment(image, kind, np.random.default_rng(seed)) for kind in ("trivial", "clinic"))
        np.testing.assert_array_equal(untaught, trivial)
    taught = [draw_change("clinic", 48, np.random.default_rng(seed), taught=True) for seed in range(40)]
    changed = [dataclasses.replace(change, trivial=None, flip=False).apply(image) for change in taught]
    assert all(one.shape == image.shape and one.dtype == np.uint8 for one in changed)
    assert 20 < sum(not np.array_equal(one, image) for one in changed) < 40  # about one in ten stays as it is
    again = [draw_change("clinic", 48, np.random.default_rng(seed), taught=True).apply(image) for seed in range(40)]
    assert all(np.array_equal(change.apply(image), one) for change, one in zip(taught, again, strict=True))


def test_a_mask_follows_its_scan_into_a_frame() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[16:40, 8:48] = 255
    image, framed = np.repeat(mask[..., None], 3, 2), 0
    for seed in range(60):
        drawn = draw_change("clinic", 64, np.random.default_rng(seed), taught=True)
        change = dataclasses.replace(drawn, look=None, trivial=None)
        moved = change.place_mask(mask)
        np.testing.assert_array_equal(moved, change.apply(image)[..., 0])
        if change.affine:
            framed += 1
            assert change.affine[0] >= 1 and change.affine[4] >= 1  # the whole scan stays in view, so squeezed
            area = change.affine[0] * change.affine[4] * (moved >= 128).sum()
            assert abs(area - (mask >= 128).sum()) < 0.12 * (mask >= 128).sum()
    assert 4 <= framed <= 22


def test_every_kind_has_words() -> None:
    assert list(IN_WORDS) == list(VARIANTS) and all(words or kind == "none" for kind, words in IN_WORDS.items())


def test_every_arm_names_a_known_augmentation() -> None:
    for arm in ARMS.values():
        assert not arm.augmentation or arm.augmentation in VARIANTS
