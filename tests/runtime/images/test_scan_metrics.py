"""Each metric of the scan's own pixels against a closed form or a second computation, and under its own corruption."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sonoforge.runtime.images import quality_metrics, scan_metrics

Levels = NDArray[np.uint8]


def rounded(values: NDArray[np.float64]) -> Levels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def speckle(seed: int, shape: tuple[int, int] = (256, 320)) -> Levels:
    """Smoothed noise round four broad steps of brightness."""
    noise = rounded(np.random.default_rng(seed).normal(128, 40, shape))
    smooth = blurred(noise, 1.5).astype(float) - 128
    ground = np.repeat([70.0, 150.0, 100.0, 120.0], shape[1] // 4)[None, :]
    return rounded(ground + smooth * 15 / smooth.std())


def blurred(levels: Levels, radius: float) -> Levels:
    return np.asarray(Image.fromarray(levels).filter(ImageFilter.GaussianBlur(radius)))


def grainy(levels: Levels, spread: float) -> Levels:
    return rounded(levels * (1 + np.random.default_rng(5).normal(0, spread, levels.shape)))


def flat(levels: Levels, factor: float) -> Levels:
    return rounded(levels.mean() + factor * (levels - levels.mean()))


def packed(levels: Levels, strength: float) -> Levels:
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "JPEG", quality=round(100 - strength))
    return np.asarray(Image.open(stream))


def covered(levels: Levels, share: float) -> Levels:
    return np.where(np.arange(levels.shape[1]) < share * levels.shape[1], 0, levels).astype(np.uint8)


CORRUPTIONS = {
    "edge_sharpness": (blurred, (1, 2, 3, 4, 6)),
    "speckle_snr": (grainy, (0.1, 0.2, 0.3, 0.45, 0.6)),
    "grey_levels": (flat, (0.8, 0.6, 0.4, 0.2, 0.1)),
    "effective_resolution": (blurred, (1, 1.5, 2.2, 3.2, 4.5)),
    "blockiness": (packed, (50, 65, 78, 86, 92)),
    "coverage": (covered, (0.1, 0.2, 0.3, 0.4, 0.5)),
}


@pytest.mark.parametrize("name", quality_metrics.SCAN)
def test_each_metric_worsens_under_its_own_corruption(name: str) -> None:
    corrupt, steps = CORRUPTIONS[name]
    clean = speckle(0)
    values = [scan_metrics.measure(levels)[name] for levels in (clean, *(corrupt(clean, step) for step in steps))]
    sign = 1 if quality_metrics.SCAN[name].better == "higher" else -1
    assert np.all(np.diff(values) * sign < 0), values


@pytest.mark.parametrize("name", quality_metrics.SCAN)
@pytest.mark.parametrize("flip", [0, 1])
def test_a_mirrored_scan_is_as_good(name: str, flip: int) -> None:
    clean = speckle(1)
    found = [scan_metrics.measure(levels)[name] for levels in (clean, np.flip(clean, flip))]
    assert found[1] == pytest.approx(found[0], rel=0.02)


def test_levels_are_those_of_a_closed_form() -> None:
    rng = np.random.default_rng(0)
    assert scan_metrics.measure(rng.permutation(np.tile(np.arange(100, 164, dtype=np.uint8), 64)).reshape(64, 64))[
        "grey_levels"
    ] == pytest.approx(64)
    # White noise: any neighbour is unrelated, so the half maximum lies half a pixel away on either side.
    white = rounded(rng.normal(128, 20, (256, 320)))
    found = scan_metrics.measure(white)
    assert found["effective_resolution"] == pytest.approx(256 / 1, rel=0.05)
    assert found["speckle_snr"] == pytest.approx(128 / 20, rel=0.05)
    assert found["blockiness"] == pytest.approx(1, abs=0.05)


def test_the_grain_of_gaussian_speckle_is_the_width_of_its_autocovariance() -> None:
    sigma = 1.5  # white noise through a Gaussian: the autocovariance is one of sigma * sqrt(2)
    rng = np.random.default_rng(2)
    spectrum = np.fft.rfft2(rng.normal(size=(512, 512)))
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(512), np.fft.fftfreq(512)))
    noise = np.fft.irfft2(spectrum * np.exp(-2 * (math.pi * sigma * frequency) ** 2))
    width = 2 * math.sqrt(2 * math.log(2)) * sigma * math.sqrt(2)
    found = 512 / scan_metrics.measure(rounded(128 + 30 * noise / noise.std()))["effective_resolution"]
    assert found == pytest.approx(width, rel=0.05)


def test_coverage_is_the_share_that_is_not_black() -> None:
    levels = np.full((80, 160), 90, np.uint8)
    levels[:40, :80] = 4
    assert scan_metrics.measure(levels)["coverage"] == 0.75


def test_what_cannot_be_measured_is_not_a_number() -> None:
    assert all(math.isnan(value) for value in scan_metrics.measure(np.zeros((5, 5), np.uint8)).values())
    black = scan_metrics.measure(np.zeros((90, 90), np.uint8))
    assert black.pop("coverage") == 0
    assert black.pop("blockiness") == 1
    assert all(math.isnan(value) for value in black.values())


def test_gcnr_is_that_of_two_overlapping_boxes() -> None:
    rng = np.random.default_rng(3)
    mask = np.zeros((256, 256), bool)
    mask[64:192, 64:192] = True
    # Uniform on 64..127 and 96..159: half of each overlaps.
    levels = np.where(mask, rng.integers(64, 128, mask.shape), rng.integers(96, 160, mask.shape)).astype(np.uint8)
    found = scan_metrics.gcnr(levels, mask)
    assert found == pytest.approx(0.5, abs=0.02)
    assert math.isnan(scan_metrics.gcnr(levels, np.zeros_like(mask)))
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        scan_metrics.gcnr(levels, np.ones((2, 2), bool))


def test_gcnr_does_not_change_with_a_stretch_of_levels_but_falls_with_noise() -> None:
    mask = np.zeros((200, 200), bool)
    mask[60:140, 60:140] = True
    levels = rounded(np.where(mask, 60, 120) + np.random.default_rng(4).normal(0, 12, mask.shape))
    clean = scan_metrics.gcnr(levels, mask)
    assert scan_metrics.gcnr(rounded(levels * 1.1), mask) == pytest.approx(clean, abs=0.03)
    noisy = [scan_metrics.gcnr(grainy(levels, spread), mask) for spread in (0.1, 0.2, 0.3, 0.45, 0.6)]
    assert np.all(np.diff([clean, *noisy]) < 0)
