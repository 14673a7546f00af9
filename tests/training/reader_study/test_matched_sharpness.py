"""Matched sharpness: it undoes a known blur, and what it levels is measured by another transform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sonoforge.runtime.distances.spectrum import ring_levels, spectrum_distance
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.phantom.dataset import generate_phantom_set
from sonoforge.training.reader_study.automatic import match_sharpness


def phantoms(count: int, seed: int) -> Pixels:
    return np.stack([one.pixels for one in generate_phantom_set(count, seed, size=64)])[..., None]


def blur(images: Pixels, sigma: float) -> Pixels:
    """By a Gaussian; ``reflect`` continues an image as its mirror image."""
    blurred = ndimage.gaussian_filter(images.astype(np.float64), (0, sigma, sigma, 0), mode="reflect")
    return np.rint(blurred).astype(np.uint8)


@pytest.fixture(scope="module")
def scans() -> Pixels:
    return phantoms(24, 0)


@pytest.mark.parametrize("colour", [False, True])
def test_a_set_matched_with_its_own_blurred_copy_becomes_that_copy(scans: Pixels, colour: bool) -> None:
    sharp = np.concatenate([scans, scans[:, ::-1], scans.transpose(0, 2, 1, 3)], axis=3) if colour else scans
    blurred = blur(sharp, 1.0)
    was = np.abs(sharp.astype(int) - blurred)
    for images in (*match_sharpness(sharp, blurred), *match_sharpness(blurred, sharp)):
        apart = np.abs(images.astype(int) - blurred)
        assert apart.mean() < 0.1 * was.mean() and apart.max() < 0.2 * was.max()


def test_other_scans_get_one_spectrum_by_the_fourier_transform_too(scans: Pixels) -> None:
    blurred = blur(phantoms(24, 1), 1.5)
    before = spectrum_distance(ring_levels(scans), ring_levels(blurred))
    first, second = match_sharpness(scans, blurred)
    after = spectrum_distance(ring_levels(first), ring_levels(second))
    assert before.fine_rings > 20 and after.fine_rings < 2.5 and after.all_rings < 2.5  # decibels
    assert np.abs(second.astype(int) - blurred).mean() < 1  # the smoother set is hardly touched
    # Brightness is no sharpness.
    assert first.mean() == pytest.approx(scans.mean(), abs=0.1)
    assert second.mean() == pytest.approx(blurred.mean(), abs=0.1)


def test_nothing_is_sharpened(scans: Pixels) -> None:
    for images, matched in zip((scans, blur(scans, 2)), match_sharpness(scans, blur(scans, 2)), strict=True):
        assert (ring_levels(matched).mean(0) < ring_levels(images).mean(0) + 0.5).all()  # rounding adds as much


def test_flat_images_are_left_as_they_are() -> None:
    flat = np.full((3, 16, 16, 1), 90, np.uint8)
    for images in match_sharpness(flat, flat):
        assert (images == flat).all()
