"""Sliced Wasserstein distance, on a Laplacian pyramid too, and the spectrum: scipy in plain loops, closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import wasserstein_distance

from feature_rows import network_rows, rows
from scans import draw_scan
from sonoforge.runtime.distances import sliced as module
from sonoforge.runtime.distances.sliced import (
    laplacian_swd,
    sliced_wasserstein,
    unit_directions,
    wasserstein_1,
)
from sonoforge.runtime.distances.spectrum import ring_levels, spectrum_distance
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.gan.ticks import DIRECTIONS, sliced_distance

# ---- sliced Wasserstein distance: scipy one direction at a time, and closed forms.


@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 21), (12, 30), (31, 1), (1, 7)])
def test_distance_in_one_dimension_is_scipys(n: int, m: int) -> None:
    first, second = rows(4, n, 0), 0.5 + 2 * rows(4, m, 1)
    expected = [wasserstein_distance(a, b) for a, b in zip(first, second, strict=True)]
    assert wasserstein_1(first, second) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(40, 40), (40, 33)])
@pytest.mark.parametrize("block", [100, 8_000_000])
def test_distance_is_scipys_mean_over_the_directions(
    monkeypatch: pytest.MonkeyPatch, n: int, m: int, block: int
) -> None:
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", block)
    x, y = network_rows(n, 24, 0, blur=3), network_rows(m, 24, 100)
    rng = np.random.default_rng(derive_seed(4, "sliced Wasserstein directions"))
    directions = unit_directions(30, 24, rng)
    expected = [wasserstein_distance(x @ direction, y @ direction) for direction in directions]
    assert sliced_wasserstein(x, y, projections=30, seed=4) == pytest.approx(np.mean(expected), rel=1e-6)


def test_a_shift_moves_every_projection_by_its_own_share() -> None:
    x, shift = rows(25, 7, 0), rows(1, 7, 1)[0]
    rng = np.random.default_rng(derive_seed(0, "sliced Wasserstein directions"))
    expected = np.abs(unit_directions(512, 7, rng) @ shift).mean()
    assert sliced_wasserstein(x + shift, x) == pytest.approx(expected, rel=1e-9)
    # In three dimensions |v.u| is uniform on [0, |v|].
    assert sliced_wasserstein(x[:, :3] + [0, 0, 2.0], x[:, :3], projections=20_000) == pytest.approx(1, rel=0.02)


def test_it_is_zero_for_a_set_with_itself_symmetric_and_repeatable() -> None:
    x, y = rows(30, 5, 0), 1 + rows(20, 5, 1)
    assert sliced_wasserstein(x, x[::-1]) == 0
    # Every image twice is the same distribution.
    assert sliced_wasserstein(np.concatenate([x, x]), x) == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(x, y) == pytest.approx(sliced_wasserstein(y, x), rel=1e-12)
    assert sliced_wasserstein(x, y, seed=1) == sliced_wasserstein(x, y, seed=1) != sliced_wasserstein(x, y, seed=2)


def test_training_measures_the_very_same_distance() -> None:
    x, y = network_rows(20, 24, 0), network_rows(30, 24, 100)
    found = sliced_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert found == sliced_wasserstein(x, y, projections=DIRECTIONS, seed=0)
    broken = torch.from_numpy(x).clone()
    broken[2, 3] = math.inf
    assert math.isnan(sliced_distance(broken, torch.from_numpy(y)))  # a training in trouble is not stopped by it


# ---- sliced Wasserstein distance on a Laplacian pyramid: scipy's filters and distances in plain loops, and invariants.

KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def _scans(count: int, side: int, channels: int, first_seed: int = 0) -> NDArray[np.uint8]:
    found = np.stack([draw_scan(first_seed + number, side) for number in range(count)])[..., None]
    tints = np.array([1.0, 0.7, 0.4])[:channels]
    return (found * tints + 9 * np.arange(channels)).astype(np.uint8)


def _plane_down(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    return ndimage.convolve(plane, KERNEL, mode="mirror")[::2, ::2]


def _plane_up(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = np.zeros((2 * len(plane), 2 * len(plane)))
    spread[::2, ::2] = plane
    return ndimage.convolve(spread, 4 * KERNEL, mode="mirror")


def _pyramid(plane: NDArray[np.float64], levels: int) -> list[NDArray[np.float64]]:
    """Burt, Adelson 1983, of one channel: finest first, the remainder last."""
    found = []
    for _ in range(levels - 1):
        smaller = _plane_down(plane)
        found.append(plane - _plane_up(smaller))
        plane = smaller
    return [*found, plane]


def _descriptors(images: NDArray[np.uint8], level: int, levels: int, seed: int, name: str) -> NDArray[np.float64]:
    """(K, C, 49) of one level, patch by patch, normalised by channel."""
    side = images.shape[1] >> level
    rng = np.random.default_rng(derive_seed(seed, f"SWD patches, {name}", side))
    rows, columns = rng.integers(0, side - 7 + 1, (2, len(images), module.PATCHES))
    found = []
    for image, tops, lefts in zip(images, rows, columns, strict=True):
        bands = [_pyramid(plane.astype(float), levels)[level] for plane in np.moveaxis(image, 2, 0)]
        for top, left in zip(tops, lefts, strict=True):
            found.append([band[top : top + 7, left : left + 7].ravel() for band in bands])
    every = np.array(found)
    for channel in range(every.shape[1]):
        values = every[:, channel]
        every[:, channel] = (values - values.mean()) / values.std()
    return every


@pytest.mark.parametrize(("n", "m", "side", "channels"), [(3, 3, 32, 1), (2, 3, 40, 3), (2, 2, 64, 1)])
def test_every_level_equals_scipys_filters_and_distances(
    monkeypatch: pytest.MonkeyPatch, n: int, m: int, side: int, channels: int
) -> None:
    monkeypatch.setattr(module, "PATCHES", 5)
    monkeypatch.setattr(module, "DIRECTIONS", 6)
    monkeypatch.setattr(module, "_IMAGES", 2)
    generated, real = _scans(n, side, channels, 50), _scans(m, side, channels)
    found = laplacian_swd(generated, real, seed=3)
    sides = [side >> level for level in range(9) if side >> level >= 16]
    assert list(found) == sides
    for level, own in enumerate(sides):
        x = _descriptors(generated, level, len(sides), 3, "generated").reshape(-1, 49 * channels)
        y = _descriptors(real, level, len(sides), 3, "real").reshape(-1, 49 * channels)
        rng = np.random.default_rng(derive_seed(3, "SWD directions", own))
        directions = np.concatenate([unit_directions(6, 49 * channels, rng) for _ in range(4)])
        expected = np.mean([wasserstein_distance(x @ direction, y @ direction) for direction in directions])
        assert found[own] == pytest.approx(1000 * expected, rel=1e-4)


@pytest.mark.parametrize(("side", "sides"), [(16, [16]), (31, [31]), (32, [32, 16]), (100, [100, 50, 25])])
def test_levels_are_halves_while_even_and_not_below_16(side: int, sides: list[int]) -> None:
    assert list(laplacian_swd(_scans(2, side, 1), _scans(2, side, 1, 9))) == sides


def test_blur_shows_on_the_finest_level_and_noise_too() -> None:
    real, other = _scans(24, 64, 1), _scans(24, 64, 1, 100)
    floor = laplacian_swd(other, real)
    blurred = np.stack([ndimage.gaussian_filter(image[..., 0], 1.0) for image in other])[..., None]
    rng = np.random.default_rng(0)
    noisy = np.clip(other + rng.normal(0, 20, other.shape), 0, 255).astype(np.uint8)
    for changed in (blurred, noisy):
        found = laplacian_swd(changed, real)
        assert found[64] > 2 * floor[64]
        assert found[16] < 1.5 * floor[16]


# ---- the spectrum of images against closed forms: one wave, white noise, a known filter.

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
    assert found == pytest.approx((20 * np.log10(2),) * 2, abs=0.1)


def test_flat_images_have_a_level() -> None:
    assert np.isfinite(ring_levels(np.full((2, SIDE, SIDE, 3), 77, np.uint8))).all()
