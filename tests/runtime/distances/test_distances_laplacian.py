"""Sliced Wasserstein distance on a Laplacian pyramid: scipy's filters and distances in plain loops, and invariants."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import wasserstein_distance

from scans import draw_scan
from sonoforge.runtime.distances import sliced as module
from sonoforge.runtime.distances.sliced import down, laplacian_swd, unit_directions, up
from sonoforge.runtime.seeds import derive_seed

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


def test_pyramid_can_be_put_together_again_and_keeps_constants() -> None:
    images = _scans(2, 48, 3).astype(np.float32)
    half = down(images)
    assert np.allclose(half[0, :, :, 1], _plane_down(images[0, :, :, 1].astype(float)), atol=1e-3)
    assert np.allclose(up(half)[1, :, :, 2], _plane_up(half[1, :, :, 2].astype(float)), atol=1e-3)
    assert up(half).shape == images.shape
    flat = np.full((1, 32, 32, 1), 77, np.float32)
    assert np.allclose(down(flat), 77, atol=1e-4)
    assert np.allclose(up(down(flat)), 77, atol=1e-4)


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


def test_brightness_and_contrast_are_normalised_away_as_in_the_paper() -> None:
    real, other = _scans(12, 32, 1), _scans(12, 32, 1, 100)
    expected = laplacian_swd(other // 2, real)
    found = laplacian_swd(other // 2 + 90, real)
    assert found == pytest.approx(expected, rel=1e-3)


def test_a_level_without_detail_counts_as_zeros() -> None:
    """A generator that makes one grey has no detail: its distance is the mean size of the real images' own."""
    flat = np.full((4, 32, 32, 1), 90, np.uint8)
    real = _scans(4, 32, 1)
    found = laplacian_swd(flat, real)
    assert laplacian_swd(flat, flat) == {32: 0, 16: 0}
    assert 300 < found[16] < 1000 * np.sqrt(49)
    assert found == laplacian_swd(flat, real) != laplacian_swd(flat, real, seed=1)
