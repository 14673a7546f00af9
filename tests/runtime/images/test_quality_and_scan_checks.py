"""Each metric and check of a scan against a closed form or a second computation, and under its own corruption."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from sonoforge.runtime.images import quality_metrics, scan_metrics
from sonoforge.runtime.images.quality_metrics import METRICS, SCAN, Band
from sonoforge.runtime.images.scan_checks import ROWS, coloured_share, dark_columns, flatness, profile, upright_score

Levels = NDArray[np.uint8]


def rounded(values: NDArray[np.float64]) -> Levels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def blurred(levels: Levels, radius: float) -> Levels:
    return np.asarray(Image.fromarray(levels).filter(ImageFilter.GaussianBlur(radius)))


def flat(levels: Levels, factor: float) -> Levels:
    return rounded(levels.mean() + factor * (levels - levels.mean()))


def grainy(levels: Levels, spread: float) -> Levels:
    return rounded(levels * (1 + np.random.default_rng(5).normal(0, spread, levels.shape)))


def packed(levels: Levels, strength: float) -> Levels:
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "JPEG", quality=round(100 - strength))
    return np.asarray(Image.open(stream))


def covered(levels: Levels, share: float) -> Levels:
    return np.where(np.arange(levels.shape[1]) < share * levels.shape[1], 0, levels).astype(np.uint8)


# Of each metric of the scan: a corruption and its steps, from the weakest.
OWN: dict[str, tuple[Callable[[Levels, float], Levels], tuple[float, ...]]] = {
    "edge_sharpness": (blurred, (1, 2, 3, 4, 6)),
    "speckle_snr": (grainy, (0.1, 0.2, 0.3, 0.45, 0.6)),
    "grey_levels": (flat, (0.8, 0.6, 0.4, 0.2, 0.1)),
    "effective_resolution": (blurred, (1, 1.5, 2.2, 3.2, 4.5)),
    "blockiness": (packed, (50, 65, 78, 86, 92)),
    "coverage": (covered, (0.1, 0.2, 0.3, 0.4, 0.5)),
}


# ---- the network's view


def of_pixels(grey: NDArray[np.float64]) -> dict[str, float]:
    return quality_metrics.measure(rounded(grey), 640, 480)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_noise_recovers_the_standard_deviation(sigma: float) -> None:
    rng = np.random.default_rng(0)
    ramp = 60 + np.add.outer(np.arange(224.0), np.arange(224.0)) / 4  # a plane: the mask must not see it
    assert of_pixels(ramp + rng.normal(0, sigma, (224, 224)))["noise"] == pytest.approx(sigma, rel=0.03)


def test_sharpness_equals_the_variance_of_the_laplacian() -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224)).astype(float)
    laplacian = np.zeros((222, 222))
    for (dy, dx), weight in {(0, 1): 1, (1, 0): 1, (1, 2): 1, (2, 1): 1, (1, 1): -4}.items():
        laplacian += weight * image[dy : dy + 222, dx : dx + 222]
    assert of_pixels(image)["sharpness"] == pytest.approx(laplacian.var(), rel=1e-5)


def test_shares_and_levels_of_a_known_picture() -> None:
    image = np.full((100, 100), 100.0)
    image[:10] = 255
    image[10:30] = 0
    image[30:32] = 251  # clipped, then averaged by a resize
    image[32:34] = 250
    found = of_pixels(image)
    assert found["saturated"] == pytest.approx(0.12) and found["black"] == pytest.approx(0.20)
    assert found["brightness"] == pytest.approx(image.mean())
    assert (found["contrast"], found["resolution"]) == (255, 480)
    values = np.random.default_rng(0).normal(128, 20, (224, 224)).round()
    low, high = np.percentile(values, (5, 95), method="inverted_cdf")
    assert of_pixels(values)["contrast"] == high - low
    grey = np.full((60, 60), 99.0)
    grey[:, 20:30] = 49  # a band of a sixth of the width
    grey[:15] = 0  # the upper quarter does not count
    assert of_pixels(grey)["evenness"] == 0.5


def test_flags_name_the_faulty_side_only() -> None:
    limits = {name: Band(10.0, 20.0) for name in METRICS}

    def flags(value: float) -> list[str]:
        return quality_metrics.flags(dict.fromkeys(METRICS, value), limits)

    assert flags(10.0) == flags(20.0) == []
    assert flags(9.0) == ["sharpness_low", "contrast_low", "brightness_low", "evenness_low", "resolution_low"]
    assert quality_metrics.flags(dict.fromkeys(METRICS, 9.0), {"noise": Band(10.0, 20.0)}) == []  # an older bundle
    assert flags(21.0) == ["noise_high", "brightness_high", "saturated_high", "black_high"]


# ---- the scan's own pixels


def speckle(seed: int, shape: tuple[int, int] = (256, 320)) -> Levels:
    """Smoothed noise around four broad steps of brightness."""
    noise = rounded(np.random.default_rng(seed).normal(128, 40, shape))
    smooth = blurred(noise, 1.5).astype(float) - 128
    ground = np.repeat([70.0, 150.0, 100.0, 120.0], shape[1] // 4)[None, :]
    return rounded(ground + smooth * 15 / smooth.std())


@pytest.mark.parametrize("name", SCAN)
def test_a_metric_of_the_scan_worsens_under_its_own_corruption_and_not_in_a_mirror(name: str) -> None:
    corrupt, steps = OWN[name]
    clean = speckle(0)
    values = [scan_metrics.measure(levels)[name] for levels in (clean, *(corrupt(clean, step) for step in steps))]
    sign = 1 if SCAN[name].better == "higher" else -1
    assert np.all(np.diff(values) * sign < 0), values
    for axis in (0, 1):
        assert scan_metrics.measure(np.flip(clean, axis))[name] == pytest.approx(values[0], rel=0.02)


def test_levels_are_those_of_a_closed_form() -> None:
    rng = np.random.default_rng(0)
    even = rng.permutation(np.tile(np.arange(100, 164, dtype=np.uint8), 64)).reshape(64, 64)
    assert scan_metrics.measure(even)["grey_levels"] == pytest.approx(64)
    # White noise: any neighbour is unrelated, so the half maximum lies half a pixel away on either side.
    found = scan_metrics.measure(rounded(rng.normal(128, 20, (256, 320))))
    assert found["effective_resolution"] == pytest.approx(256 / 1, rel=0.05)
    assert found["speckle_snr"] == pytest.approx(128 / 20, rel=0.05)
    assert found["blockiness"] == pytest.approx(1, abs=0.05)
    levels = np.full((80, 160), 90, np.uint8)
    levels[:40, :80] = 4
    assert scan_metrics.measure(levels)["coverage"] == 0.75


def test_the_grain_of_gaussian_speckle_is_the_width_of_its_autocovariance() -> None:
    sigma = 1.5  # white noise through a Gaussian: the autocovariance is one of sigma * sqrt(2)
    spectrum = np.fft.rfft2(np.random.default_rng(2).normal(size=(512, 512)))
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(512), np.fft.fftfreq(512)))
    noise = np.fft.irfft2(spectrum * np.exp(-2 * (math.pi * sigma * frequency) ** 2))
    width = 2 * math.sqrt(2 * math.log(2)) * sigma * math.sqrt(2)
    found = 512 / scan_metrics.measure(rounded(128 + 30 * noise / noise.std()))["effective_resolution"]
    assert found == pytest.approx(width, rel=0.05)


def test_a_metric_that_cannot_be_measured_is_nan() -> None:
    assert all(math.isnan(value) for value in scan_metrics.measure(np.zeros((5, 5), np.uint8)).values())
    black = scan_metrics.measure(np.zeros((90, 90), np.uint8))
    assert (black.pop("coverage"), black.pop("blockiness")) == (0, 1)
    assert all(math.isnan(value) for value in black.values())


def test_gcnr_is_the_overlap_of_two_boxes() -> None:
    rng = np.random.default_rng(3)
    mask = np.zeros((256, 256), bool)
    mask[64:192, 64:192] = True
    # Uniform on 64..127 and 96..159: half of each overlaps.
    levels = np.where(mask, rng.integers(64, 128, mask.shape), rng.integers(96, 160, mask.shape)).astype(np.uint8)
    assert scan_metrics.gcnr(levels, mask) == pytest.approx(0.5, abs=0.02)
    assert math.isnan(scan_metrics.gcnr(levels, np.zeros_like(mask)))
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        scan_metrics.gcnr(levels, np.ones((2, 2), bool))
    levels = rounded(np.where(mask, 60, 120) + rng.normal(0, 12, mask.shape))
    clean = scan_metrics.gcnr(levels, mask)
    assert scan_metrics.gcnr(rounded(levels * 1.1), mask) == pytest.approx(clean, abs=0.03)
    worse = [scan_metrics.gcnr(grainy(levels, spread), mask) for spread in (0.1, 0.2, 0.3, 0.45, 0.6)]
    assert np.all(np.diff([clean, *worse]) < 0)


SIDE = 40


def fading(size: int = 224) -> np.ndarray:
    """Return a picture of stripes that are bright at the top and fade with depth."""
    rows = (np.linspace(200, 20, size) * np.resize([1, 0.8], size))[:, None, None]
    return np.broadcast_to(rows, (size, size, 3)).astype(np.uint8)[None]


@pytest.mark.parametrize("size", [224, 64, 65])
def test_profile_is_the_bands_less_their_mirror(size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    found = profile(pixels)
    for image, own in zip(pixels.astype(float), found, strict=True):
        framed = np.pad(image, ((1, 1), (0, 0), (0, 0)), mode="edge")
        detail = abs(framed[2:] - image) + abs(image - framed[:-2])
        bands = [detail[i * size // ROWS : (i + 1) * size // ROWS].mean() for i in range(ROWS)]
        assert own == pytest.approx([math.log((0.5 + bands[i]) / (0.5 + bands[-1 - i])) for i in range(ROWS)])


def test_turning_a_scan_turns_its_score() -> None:
    weights = np.linspace(1, -1, ROWS).tolist()
    upright, turned = upright_score(fading(), weights), upright_score(fading()[:, ::-1], weights)
    assert upright > 0
    assert turned == pytest.approx(-upright)
    assert upright_score(fading()[:, :, ::-1], weights) == pytest.approx(upright)
    assert upright_score(np.zeros((1, 224, 224, 3), np.uint8), weights) == 0


def test_columns_without_echo_are_counted_below_the_near_field() -> None:
    pixels = fading().copy()
    assert dark_columns(pixels) == 0
    pixels[:, 56:, :56] = 5
    assert dark_columns(pixels) == pytest.approx(0.25)
    pixels[:, 56:] = 5  # the near field still shines
    assert dark_columns(pixels) == 1


def test_pixels_whose_channels_differ_by_more_than_24_levels_are_coloured() -> None:
    pixels = np.full((2, 10, 10, 3), 200, np.uint8)
    pixels[0, :3, :, 2] = 175  # 25 apart, in 30 pixels
    pixels[0, 5, :, 0] = 224  # 24 apart
    assert np.allclose(coloured_share(pixels), [0.3, 0.0])


def grain(wide: float, deep: float, seed: int = 0) -> NDArray[np.uint8]:
    """Smoothed complex noise: speckle whose grain has these sizes (standard deviations, pixels)."""
    rng = np.random.default_rng(seed)
    real, imaginary = (gaussian_filter(rng.normal(size=(SIDE, SIDE)), (deep, wide)) for _ in range(2))
    level = np.hypot(real, imaginary)
    return np.clip(90 * level / level.mean(), 0, 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)


def by_loop(pixels: NDArray[np.uint8]) -> float:
    grey = pixels.astype(float).mean(axis=2)
    rest = np.empty_like(grey)
    for row, column in np.ndindex(grey.shape):
        rows = np.clip(np.arange(row - 4, row + 5), 0, len(grey) - 1)
        columns = np.clip(np.arange(column - 4, column + 5), 0, len(grey) - 1)
        rest[row, column] = grey[row, column] - grey[np.ix_(rows, columns)].mean()
    across = np.mean([a * b for line in rest for a, b in pairwise(line)])
    along = np.mean([a * b for line in rest.T for a, b in pairwise(line)])
    return float((across - along) / (np.mean(rest**2) + 1e-3))


def test_flatness_is_the_difference_of_correlations() -> None:
    rng = np.random.default_rng(1)
    pictures = np.stack([grain(2, 1), grain(1, 1), rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)])
    assert flatness(pictures) == pytest.approx([by_loop(picture) for picture in pictures])


def test_flat_speckle_is_told_from_round_and_deep_grain() -> None:
    flat, round_, deep = flatness(np.stack([grain(2, 0.7), grain(1.2, 1.2), grain(0.7, 2)]))
    assert flat > 0.2
    assert abs(round_) < 0.1
    assert deep < -0.2


def test_turning_over_mirroring_inverting_and_gain_leave_flatness_and_a_quarter_turn_reverses_it() -> None:
    picture = grain(2, 1)
    (own,) = flatness(picture[None])
    same = np.stack([picture[::-1], picture[:, ::-1], 255 - picture])
    assert flatness(same) == pytest.approx([own] * 3)
    assert flatness((picture // 2)[None])[0] == pytest.approx(own, abs=0.01)
    assert flatness(picture.swapaxes(0, 1)[None])[0] == pytest.approx(-own)


def test_a_picture_of_one_level_has_no_grain() -> None:
    assert flatness(np.full((2, SIDE, SIDE, 3), 77, np.uint8)).tolist() == [0.0, 0.0]
