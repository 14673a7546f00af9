"""The spectrum of images against closed forms: one wave, white noise, a known filter."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sonoforge.runtime.distances.spectrum import ring_levels, spectrum_distance

SIDE = 64


def waves(periods: float, angle: float, amplitude: float = 100) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:SIDE, :SIDE] * 2 * np.pi * periods / SIDE
    wave = 128 + amplitude * np.cos(np.cos(angle) * columns + np.sin(angle) * rows)
    return np.round(wave)[None, :, :, None].astype(np.uint8)


def noise(count: int, deviation: float, seed: int = 0) -> NDArray[np.uint8]:
    values = 128 + deviation * np.random.default_rng(seed).normal(size=(count, SIDE, SIDE, 1))
    return np.round(values.clip(0, 255)).astype(np.uint8)


@pytest.mark.parametrize("periods", [3, 10, 25])
@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2])
def test_a_wave_is_loudest_in_the_ring_of_its_frequency_whatever_its_direction(periods: int, angle: float) -> None:
    levels = ring_levels(waves(periods + 0.3, angle))[0]
    assert levels.shape == (SIDE // 2,) and abs(int(levels.argmax()) + 1 - periods) <= 1
    assert levels.max() - np.median(levels) > 20


def test_the_level_of_white_noise_is_its_variance_times_that_of_the_window() -> None:
    """Of a Hann window the squares sum to 3/8 of the side, in either direction."""
    levels = ring_levels(noise(400, 20.0))
    expected = 10 * np.log10((20 / 255) ** 2 * (3 / 8 * SIDE) ** 2)
    # A mean of decibels lies below the decibel of a mean, the more the fewer places a ring has; from 11 on by little.
    np.testing.assert_allclose(levels.mean(0)[10:-1], expected, atol=0.15)


def test_twice_the_contrast_is_six_decibels_in_every_ring() -> None:
    found = spectrum_distance(ring_levels(noise(200, 30.0, 1)), ring_levels(noise(200, 15.0, 2)))
    assert found.all_rings == pytest.approx(20 * np.log10(2), abs=0.1)
    assert found.fine_rings == pytest.approx(20 * np.log10(2), abs=0.1)


def test_smoothing_is_seen_where_it_acts() -> None:
    """The mean of a pixel and its right neighbour takes 3 dB off a wave of 4 pixels, and next to none off long ones."""
    sharp = noise(300, 40.0)
    rounded = np.round((sharp.astype(float) + np.roll(sharp, 1, axis=2)) / 2).astype(np.uint8)
    blurred = spectrum_distance(ring_levels(rounded), ring_levels(sharp))
    assert (
        blurred.fine_rings > 3 > spectrum_distance(ring_levels(rounded)[:, :12], ring_levels(sharp)[:, :12]).all_rings
    )
    fresh = spectrum_distance(ring_levels(noise(300, 40.0, 5)), ring_levels(sharp))
    assert fresh.all_rings < 0.3, "the same noise drawn anew"


def test_flat_images_have_a_level() -> None:
    assert np.isfinite(ring_levels(np.full((2, SIDE, SIDE, 3), 77, np.uint8))).all()
