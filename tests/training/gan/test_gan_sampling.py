"""Which images each step draws, how they are flipped and distorted, and what each process gets of them."""

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
from sonoforge.training.gan.sampling import (
    AffineRanges,
    DeviceImages,
    Sampling,
    affine_matrices,
    balanced_indices,
    choose_images,
    draw_affine,
    draw_real,
    process_slice,
    warp,
)
from sonoforge.training.gan.training import Pretrained, prepare
from sonoforge.training.gan.training_set import (
    TrainingSet,
    check_enough_images,
    expand,
    expand_classes,
)

LABELS = np.array([0] * 3 + [1] * 11 + [2] * 5)


SIZE = 32


def _on_device(images: TrainingSet, *, labelled: bool = True) -> DeviceImages:
    return DeviceImages(to_tensor(images.pixels), images.labels if labelled else None, images.image_channels)


def _stream(sampling: Sampling, images: int, labels: np.ndarray | None, steps: int) -> np.ndarray:
    return np.concatenate([choose_images(sampling, images, labels, step) for step in range(steps)])


@pytest.mark.parametrize("batch", [4, 19, 30])
def test_a_mirrored_epoch_shows_every_image_both_ways(batch: int) -> None:
    stream = _stream(Sampling(batch, seed=3, mirror=True), 19, None, 38)
    epochs = stream.reshape(-1, 38)
    assert all(sorted(epoch) == list(range(38)) for epoch in epochs)
    assert any(list(epochs[0]) != list(epoch) for epoch in epochs[1:])


@pytest.mark.parametrize("batch", [2, 6, 7])
def test_balanced_sampling_is_exact_in_every_window(batch: int) -> None:
    stream = _stream(Sampling(batch, seed=1, balanced=True), len(LABELS), LABELS, 240)
    shown = LABELS[stream]
    for rounds in (1, 2, 11):
        windows = np.lib.stride_tricks.sliding_window_view(shown, 3 * rounds)
        counts = np.stack([(windows == label).sum(axis=1) for label in range(3)])
        assert np.abs(counts - rounds).max() <= 1
    # Within a class, epochs: every image of it before any image again.
    for label, size in enumerate(np.bincount(LABELS)):
        own = stream[shown == label]
        epochs = own[: len(own) // size * size].reshape(-1, size)
        assert len(epochs) > 3
        assert all(set(epoch) == set(np.flatnonzero(label == LABELS)) for epoch in epochs)
        assert any(list(epochs[0]) != list(epoch) for epoch in epochs[1:])


def test_balanced_order_is_not_a_fixed_cycle_of_classes() -> None:
    """Parts of a batch that are computed together must not always hold the same class."""
    shown = LABELS[_stream(Sampling(6, seed=1, balanced=True), len(LABELS), LABELS, 50)].reshape(-1, 3)
    assert {tuple(row) for row in shown} == {(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}


def test_balanced_and_mirrored_shows_both_ways_equally_often() -> None:
    stream = _stream(Sampling(6, seed=1, balanced=True, mirror=True), len(LABELS), LABELS, 11 * 22)
    assert set(np.bincount(np.tile(LABELS, 2)[stream])) == {11 * 22 * 2}
    small = stream[LABELS[stream % 19] == 0][: 6 * 20]
    assert set(np.bincount(small)[[0, 1, 2, 19, 20, 21]]) == {20}


def test_classes_that_do_not_occur_do_not_count() -> None:
    drawn = balanced_indices(np.array([4, 4, 9]), 10, 0, 0)
    assert (drawn == 2).sum() == 5


@pytest.mark.parametrize("world", [1, 2, 3, 6, 12])
def test_the_parts_of_all_processes_make_the_batch(world: int) -> None:
    images = draw_masked_discs()
    device_images = _on_device(images)
    sampling = Sampling(12, seed=2, balanced=True, mirror=True, affine=AffineRanges())
    whole, labels = draw_real(device_images, sampling, step=7)
    parts = [draw_real(device_images, sampling, 7, rank, world) for rank in range(world)]
    assert all(len(part) == 12 // world for part, _ in parts)
    assert labels is not None
    assert torch.equal(torch.cat([part for part, _ in parts]), whole)
    assert torch.equal(torch.cat([own for _, own in parts if own is not None]), labels)


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(SonoforgeError, match="found 10 on 4 processes"):
        process_slice(10, 0, 4)


def test_a_step_shows_the_chosen_images_with_their_labels() -> None:
    images = draw_masked_discs()
    shown, labels = draw_real(_on_device(images), Sampling(4, seed=2), step=3)
    chosen = choose_images(Sampling(4, seed=2), 6, None, 3)
    assert torch.equal(shown, to_unit(to_tensor(images.pixels[chosen])))
    assert labels is not None
    assert list(labels) == list(chosen % 2)
    assert draw_real(_on_device(images, labelled=False), Sampling(4, seed=2), step=3)[1] is None


def test_flips_double_the_set_and_undo_themselves() -> None:
    images = draw_masked_discs()
    sampling = Sampling(12, seed=2, mirror=True)  # a batch is an epoch of the doubled set
    seen = draw_real(_on_device(images, labelled=False), sampling, step=0)[0]
    originals = to_unit(to_tensor(images.pixels))
    chosen = torch.from_numpy(choose_images(sampling, 6, None, 0))
    straight, flipped = seen[chosen < 6], seen[chosen >= 6]
    assert len(straight) == len(flipped) == 6
    assert torch.equal(straight, originals[chosen[chosen < 6]])
    again = originals[chosen[chosen >= 6] - 6]
    assert not torch.equal(flipped, again)
    assert torch.equal(flipped.flip(3), again)


def test_random_distortion_differs_by_step_and_repeats() -> None:
    images = draw_masked_discs()
    sampling = Sampling(6, seed=2, affine=AffineRanges())

    def seen(step: int) -> torch.Tensor:
        return draw_real(_on_device(images, labelled=False), sampling, step)[0]

    assert torch.equal(seen(1), seen(1))
    assert not torch.equal(draw_affine(6, AffineRanges(), 2, 1), draw_affine(6, AffineRanges(), 2, 2))
    assert seen(1).shape == (6, 2, SIZE, SIZE)
    assert set(seen(1)[:, 1].unique().tolist()) == {-1.0, 1.0}  # masks stay masks
    none = dataclasses.replace(sampling, affine=AffineRanges(0, 0, 0, 0))
    plain = dataclasses.replace(sampling, affine=None)
    still, unmoved = (draw_real(_on_device(images, labelled=False), each, 1)[0] for each in (none, plain))
    torch.testing.assert_close(still, unmoved, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (6, "training images of classes a, b: found 6, expected at least the 7 of one batch; give batch 6"),
        (1, "training images of classes a, b: found 1, .*; add images"),
    ],
)
def test_fewer_images_than_a_batch_are_refused(count: int, message: str) -> None:
    check_enough_images(count, ("a", "b"), count)
    with pytest.raises(SonoforgeError, match=message):
        check_enough_images(count, ("a", "b"), count + (1 if count > 1 else 7))


def test_each_part_of_the_map_stays_within_its_range() -> None:
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 5)).reshape(5, -1).T
    turned = affine_matrices(corners, AffineRanges(rotation=30, scale=0, shift=0, shear=0)).double()
    assert torch.allclose(turned[:, 0, 0], torch.full((32,), np.cos(np.pi / 6), dtype=torch.float64))
    assert torch.allclose(turned[:, :, :2] @ turned[:, :, :2].mT, torch.eye(2, dtype=torch.float64), atol=1e-6)
    # The map leads from the result to the image: a picture enlarged by 1.25 is read at places 0.8 times as far.
    scaled = affine_matrices(corners, AffineRanges(rotation=0, scale=0.25, shift=0, shear=0))
    assert sorted(set(scaled[:, 0, 0].tolist())) == pytest.approx([0.8, 1.25])
    shifted = affine_matrices(corners, AffineRanges(rotation=0, scale=0, shift=0.1, shear=0))
    assert torch.allclose(shifted[:, :, 2].abs(), torch.tensor(0.2))
    sheared = affine_matrices(corners, AffineRanges(rotation=0, scale=0, shift=0, shear=45))
    assert sorted(set(sheared[:, 0, 1].tolist())) == pytest.approx([-1, 1])


def test_warp_agrees_with_scipy_border_included() -> None:
    rng = np.random.default_rng(4)
    images = ndimage.gaussian_filter(rng.uniform(-1, 1, (3, SIZE, SIZE)), (0, 1, 1))
    matrices = affine_matrices(rng.uniform(-1, 1, (3, 5)), AffineRanges(40, 0.3, 0.2, 20))
    moved = warp(torch.from_numpy(images)[:, None], matrices.double(), 1)[:, 0].numpy()
    for image, matrix, found in zip(images, matrices.double().numpy(), moved, strict=True):
        linear = matrix[::-1, 1::-1]  # rows and columns in the order y, x
        centre = (SIZE - 1) / 2
        offset = centre + matrix[::-1, 2] * SIZE / 2 - linear @ [centre, centre]
        expected = ndimage.affine_transform(image, linear, offset, order=1, mode="reflect")
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_expansion_keeps_the_originals_first_and_makes_seven_of_each() -> None:
    images = draw_masked_discs()
    seven = expand(images, 7, AffineRanges(), seed=1)
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
    seven = expand(images, 7, AffineRanges(), seed=1)
    assert np.array_equal(expand(images, 7, AffineRanges(), seed=1).pixels, seven.pixels)
    assert np.array_equal(expand(images, 3, AffineRanges(), seed=1).pixels, seven.pixels[:18])
    few = dataclasses.replace(images, pixels=images.pixels[:2], labels=None)
    assert np.array_equal(expand(few, 2, AffineRanges(), seed=1).pixels[2:], seven.pixels[6:8])
    assert not np.array_equal(expand(images, 2, AffineRanges(), seed=2).pixels[6:], seven.pixels[6:12])


def test_each_class_is_expanded_to_the_same_number_and_copies_stay_with_their_scan() -> None:
    """Of 4 and 2 images, 7 of each class: copies as even as they can be, drawn as in any expansion."""
    images = dataclasses.replace(draw_masked_discs(), labels=np.array([0, 0, 0, 1, 1, 0]), groups=np.arange(6) // 2)
    seven = expand_classes(images, 7, AffineRanges(), seed=1)
    assert seven.labels is not None and seven.groups is not None
    assert np.array_equal(seven.pixels[:6], images.pixels)
    assert list(np.bincount(seven.labels)) == [7, 7]
    assert list(seven.labels[6:]) == [0, 0, 0, 1, 1, 1, 1, 1], "first copies of five, since one class lacks but three"
    assert list(seven.groups[6:]) == [0, 0, 1, 1, 2, 1, 2, 1]
    first = expand(images, 2, AffineRanges(), seed=1).pixels[6:]
    assert np.array_equal(seven.pixels[6:11], first[:5])
    assert len({image.tobytes() for image in seven.pixels}) == 14
    untold = dataclasses.replace(images, labels=None, untold=images.labels)
    assert np.array_equal(expand_classes(untold, 7, AffineRanges(), seed=1).pixels, seven.pixels)
    same = expand_classes(images, 3, AffineRanges(), seed=1)
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
    seven = expand(images, 7, AffineRanges(), seed=1)
    pictures, masks = split_masks(seven.pixels, 1)
    assert masks is not None
    assert not np.array_equal(masks[6:12], masks[:6])
    assert np.array_equal(seven.pixels[..., 1:], masks)  # 0 and 255 only
    assert np.array_equal(masks, np.where(pictures >= 128, 255, 0))
