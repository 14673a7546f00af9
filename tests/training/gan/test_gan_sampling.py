"""Which images each step draws, how they are flipped, and how a set is expanded by distorted copies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from gan_trainings import draw_masked_discs
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import split_masks
from sonoforge.training.data.pixels import to_tensor, to_unit
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import Pretrained, prepare
from sonoforge.training.gan.training_set import (
    DeviceImages,
    TrainingSet,
    affine_matrices,
    check_enough_images,
    draw_real,
    expand,
    expand_classes,
    shuffled_epochs,
    warp,
)

SIZE = 32


def _on_device(images: TrainingSet, batch: int = 4, *, labelled: bool = True, mirror: bool = False) -> DeviceImages:
    return DeviceImages(to_tensor(images.pixels), images.labels if labelled else None, batch, 2, mirror)


@pytest.mark.parametrize("batch", [4, 19, 30])
def test_an_epoch_shows_every_image_once_however_it_is_cut(batch: int) -> None:
    stream = np.concatenate([shuffled_epochs(38, k * batch, (k + 1) * batch, 3, "order") for k in range(38)])
    epochs = stream.reshape(-1, 38)
    assert all(sorted(epoch) == list(range(38)) for epoch in epochs)
    assert any(list(epochs[0]) != list(epoch) for epoch in epochs[1:])


def test_a_step_shows_the_chosen_images_with_their_labels() -> None:
    images = draw_masked_discs()
    shown, labels = draw_real(_on_device(images), step=3)
    chosen = shuffled_epochs(6, 12, 16, 2, "order")
    assert torch.equal(shown, to_unit(to_tensor(images.pixels[chosen])))
    assert labels is not None
    assert list(labels) == list(chosen % 2)
    assert draw_real(_on_device(images, labelled=False), step=3)[1] is None


def test_flips_double_the_set_and_undo_themselves() -> None:
    images = draw_masked_discs()
    # A batch is an epoch of the doubled set.
    seen = draw_real(_on_device(images, 12, labelled=False, mirror=True), step=0)[0]
    originals = to_unit(to_tensor(images.pixels))
    chosen = torch.from_numpy(shuffled_epochs(12, 0, 12, 2, "order"))
    straight, flipped = seen[chosen < 6], seen[chosen >= 6]
    assert len(straight) == len(flipped) == 6
    assert torch.equal(straight, originals[chosen[chosen < 6]])
    again = originals[chosen[chosen >= 6] - 6]
    assert not torch.equal(flipped, again)
    assert torch.equal(flipped.flip(3), again)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (6, "6 training images of classes a, b are fewer than the 7 of one batch; give batch 6"),
        (1, "1 training images of classes a, b .*; add images"),
    ],
)
def test_fewer_images_than_a_batch_are_refused(count: int, message: str) -> None:
    check_enough_images(count, ("a", "b"), count)
    with pytest.raises(SonoforgeError, match=message):
        check_enough_images(count, ("a", "b"), count + (1 if count > 1 else 7))


def test_each_part_of_the_map_stays_within_its_range() -> None:
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 5)).reshape(5, -1).T

    def only(*columns: int) -> torch.Tensor:
        return affine_matrices(np.where(np.isin(np.arange(5), columns), corners, 0)).double()

    turned = only(0)
    assert torch.allclose(turned[:, 0, 0], torch.full((32,), np.cos(np.pi / 12), dtype=torch.float64))
    assert torch.allclose(turned[:, :, :2] @ turned[:, :, :2].mT, torch.eye(2, dtype=torch.float64), atol=1e-6)
    # The map leads from the result to the image: a picture enlarged by 1.1 is read at places 1 / 1.1 times as far.
    assert sorted(set(only(1)[:, 0, 0].tolist())) == pytest.approx([1 / 1.1, 1.1])
    assert torch.allclose(only(3, 4)[:, :, 2].abs(), torch.tensor(0.1, dtype=torch.float64))
    assert sorted(set(only(2)[:, 0, 1].tolist())) == pytest.approx([-np.tan(np.radians(8)), np.tan(np.radians(8))])


def test_warp_agrees_with_scipy_border_included() -> None:
    rng = np.random.default_rng(4)
    images = ndimage.gaussian_filter(rng.uniform(-1, 1, (3, SIZE, SIZE)), (0, 1, 1))
    matrices = affine_matrices(rng.uniform(-2.5, 2.5, (3, 5)))
    moved = warp(torch.from_numpy(images)[:, None], matrices.double(), 1)[:, 0].numpy()
    for image, matrix, found in zip(images, matrices.double().numpy(), moved, strict=True):
        linear = matrix[::-1, 1::-1]  # rows and columns in the order y, x
        centre = (SIZE - 1) / 2
        offset = centre + matrix[::-1, 2] * SIZE / 2 - linear @ [centre, centre]
        expected = ndimage.affine_transform(image, linear, offset, order=1, mode="reflect")
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_expansion_keeps_the_originals_first_and_makes_seven_of_each() -> None:
    images = draw_masked_discs()
    seven = expand(images, 7, seed=1)
    assert seven.pixels.shape == (42, SIZE, SIZE, 2)
    assert seven.pixels.dtype == np.uint8
    assert np.array_equal(seven.pixels[:6], images.pixels)
    assert seven.labels is not None
    assert list(seven.labels) == [0, 1] * 21
    assert len({image.tobytes() for image in seven.pixels}) == 42
    # Each copy is nearest to its own original: by correlation of the discs.
    flat = seven.pixels[..., 0].reshape(42, -1) / 255.0
    nearest = np.corrcoef(flat)[6:, :6].argmax(axis=1)
    assert (nearest == np.tile(np.arange(6), 6)).mean() > 0.5
    assert seven.fingerprint != images.fingerprint


def test_expansion_depends_on_seed_image_and_copy_alone() -> None:
    images = draw_masked_discs()
    seven = expand(images, 7, seed=1)
    assert np.array_equal(expand(images, 7, seed=1).pixels, seven.pixels)
    assert np.array_equal(expand(images, 3, seed=1).pixels, seven.pixels[:18])
    few = dataclasses.replace(images, pixels=images.pixels[:2], labels=None)
    assert np.array_equal(expand(few, 2, seed=1).pixels[2:], seven.pixels[6:8])
    assert not np.array_equal(expand(images, 2, seed=2).pixels[6:], seven.pixels[6:12])


def test_each_class_is_expanded_to_the_same_number_and_copies_stay_with_their_scan() -> None:
    """Of 4 and 2 images, 7 of each class: copies as even as they can be, drawn as in any expansion."""
    images = dataclasses.replace(draw_masked_discs(), labels=np.array([0, 0, 0, 1, 1, 0]), groups=np.arange(6) // 2)
    seven = expand_classes(images, 7, seed=1)
    assert seven.labels is not None and seven.groups is not None
    assert np.array_equal(seven.pixels[:6], images.pixels)
    assert list(np.bincount(seven.labels)) == [7, 7]
    assert list(seven.labels[6:]) == [0, 0, 0, 1, 1, 1, 1, 1], "first copies of five, since one class lacks but three"
    assert list(seven.groups[6:]) == [0, 0, 1, 1, 2, 1, 2, 1]
    first = expand(images, 2, seed=1).pixels[6:]
    assert np.array_equal(seven.pixels[6:11], first[:5])
    assert len({image.tobytes() for image in seven.pixels}) == 14
    untold = dataclasses.replace(images, labels=None, untold=images.labels)
    assert np.array_equal(expand_classes(untold, 7, seed=1).pixels, seven.pixels)
    same = expand_classes(images, 3, seed=1)
    assert same.labels is not None and list(np.bincount(same.labels)) == [4, 3], "a larger class stays as it is"


def test_what_is_expanded_before_is_divided_by_scan_and_measured_against() -> None:
    images = dataclasses.replace(draw_masked_discs(), groups=np.arange(6))
    settings = GanSettings(recipe="dcgan", conditioning="projection", image_size=32, batch=4, expand_to=30, masks=True)
    training = prepare(dataclasses.replace(settings, held_out=0.33), images, "cpu", Pretrained())
    assert training.held_out is not None
    held, kept = training.held_out.pixels, training.images.pixels
    assert (len(held), len(kept)) == (20, 40)
    assert sum(np.array_equal(image, original) for image in held for original in images.pixels) == 2, "two whole scans"
    untold = dataclasses.replace(images, labels=None, untold=images.labels, classes=("all",))
    told_none = dataclasses.replace(settings, held_out=0.33, conditioning="none", class_name="all")
    again = prepare(told_none, untold, "cpu", Pretrained())
    assert again.held_out is not None and not again.conditional
    assert np.array_equal(again.held_out.pixels, held), "whether it is told the classes or not"
    assert len(prepare(settings, images, "cpu", Pretrained()).originals) == 60, "all of which it is measured against"


def test_a_mask_moves_with_its_image() -> None:
    images = draw_masked_discs()
    seven = expand(images, 7, seed=1)
    pictures, masks = split_masks(seven.pixels, 1)
    assert masks is not None
    assert not np.array_equal(masks[6:12], masks[:6])
    assert np.array_equal(seven.pixels[..., 1:], masks)  # 0 and 255 only
    assert np.array_equal(masks, np.where(pictures >= 128, 255, 0))
