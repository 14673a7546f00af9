"""Each metric against a closed form, and monotone under its own corruption."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import bundle_factory as factory
from sonoforge.runtime.images import quality_metrics as image_quality
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.runtime.images.quality_metrics import Band

CLEAN = [Image.fromarray(factory.scan(seed, 400, 300)).filter(ImageFilter.GaussianBlur(1.2)) for seed in range(5)]


def measured(image: Image.Image) -> dict[str, float]:
    return image_quality.measure(IMAGENET.resize(image), *image.size)


def pixels(grey: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def gain(image: Image.Image, factor: float) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image).astype(float) * factor, 0, 255).astype(np.uint8))


def compress_range(image: Image.Image, factor: float) -> Image.Image:
    values = np.asarray(image).astype(float)
    return Image.fromarray((values.mean() + factor * (values - values.mean())).astype(np.uint8))


def add_noise(image: Image.Image, sigma: float) -> Image.Image:
    noise = np.random.default_rng(1).normal(0, sigma, (image.height, image.width))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def scale(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BILINEAR)


def shadow(image: Image.Image, left: float) -> Image.Image:
    levels = np.asarray(image).astype(float)
    levels[:, 5 * image.width // 12 : 7 * image.width // 12] *= left
    return Image.fromarray(levels.astype(np.uint8))


CORRUPTIONS = {
    "sharpness": (lambda image, step: image.filter(ImageFilter.GaussianBlur(step)), (0, 1, 2, 4, 8), -1),
    "noise": (add_noise, (0, 5, 10, 20, 40), 1),
    "contrast": (compress_range, (1, 0.8, 0.6, 0.4, 0.2), -1),
    "brightness": (gain, (0.4, 0.7, 1, 1.4, 2), 1),
    "saturated": (gain, (1.6, 2, 3, 5, 9), 1),
    "black": (gain, (0.3, 0.2, 0.1, 0.05, 0.02), 1),
    "evenness": (shadow, (1, 0.4, 0.2, 0.1, 0), -1),
    "resolution": (scale, (1, 0.8, 0.5, 0.3, 0.1), -1),
}


@pytest.mark.parametrize("metric", image_quality.METRICS)
@pytest.mark.parametrize("index", range(len(CLEAN)))
def test_each_metric_moves_one_way_under_its_own_corruption(metric: str, index: int) -> None:
    corrupt, steps, sign = CORRUPTIONS[metric]
    values = [sign * measured(corrupt(CLEAN[index], step))[metric] for step in steps]
    assert all(later > earlier for earlier, later in pairwise(values)), values


@pytest.mark.parametrize("metric", ["sharpness", "noise", "contrast", "brightness", "saturated", "resolution"])
def test_real_scans_too(shared, metric: str) -> None:
    from sonoforge.runtime.images.decoding import read_image

    corrupt, steps, sign = CORRUPTIONS[metric]
    files = [p for p in sorted((shared / "data" / "BUSI").rglob("*.png")) if "mask" not in p.name][::97]
    for path in files:
        image = read_image(path).convert("L")
        values = [sign * measured(corrupt(image, step))[metric] for step in steps]
        assert all(later > earlier for earlier, later in pairwise(values)), (path, values)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_noise_recovers_the_standard_deviation(sigma: float) -> None:
    rng = np.random.default_rng(0)
    ramp = 60 + np.add.outer(np.arange(224.0), np.arange(224.0)) / 4  # a plane: the mask must not see it
    found = image_quality.measure(pixels(ramp + rng.normal(0, sigma, (224, 224))), 224, 224)["noise"]
    assert found == pytest.approx(sigma, rel=0.03)


def test_sharpness_equals_the_variance_of_the_laplacian() -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224))
    padded = image.astype(float)
    laplacian = np.zeros((222, 222))
    for (dy, dx), weight in {(0, 1): 1, (1, 0): 1, (1, 2): 1, (2, 1): 1, (1, 1): -4}.items():
        laplacian += weight * padded[dy : dy + 222, dx : dx + 222]
    assert image_quality.measure(pixels(padded), 224, 224)["sharpness"] == pytest.approx(laplacian.var(), rel=1e-5)


def test_shares_and_levels_of_a_known_picture() -> None:
    image = np.full((100, 100), 100.0)
    image[:10] = 255
    image[10:30] = 0
    image[30:32] = 251  # clipped, then averaged by a resize
    image[32:34] = 250
    found = image_quality.measure(pixels(image), 640, 480)
    assert found["saturated"] == pytest.approx(0.12)
    assert found["black"] == pytest.approx(0.20)
    assert found["brightness"] == pytest.approx(image.mean())
    assert found["contrast"] == 255
    assert found["resolution"] == 480


def test_contrast_is_the_span_of_the_percentiles() -> None:
    values = np.random.default_rng(0).normal(128, 20, (224, 224)).round()
    low, high = np.percentile(values, (5, 95), method="inverted_cdf")
    assert image_quality.measure(pixels(values), 224, 224)["contrast"] == high - low


def test_colour_is_measured_as_luma() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    luma = np.asarray(Image.fromarray(colour).convert("L")).astype(float)
    found, expected = image_quality.measure(colour, 64, 64), image_quality.measure(pixels(luma), 64, 64)
    for name in image_quality.METRICS:
        assert found[name] == pytest.approx(expected[name], rel=0.02, abs=1.0)


def test_flags_name_the_faulty_side_only() -> None:
    limits = {name: Band(10.0, 20.0) for name in image_quality.METRICS}
    assert image_quality.flags(dict.fromkeys(image_quality.METRICS, 10.0), limits) == []
    assert image_quality.flags(dict.fromkeys(image_quality.METRICS, 20.0), limits) == []
    low = image_quality.flags(dict.fromkeys(image_quality.METRICS, 9.0), limits)
    high = image_quality.flags(dict.fromkeys(image_quality.METRICS, 21.0), limits)
    assert low == ["sharpness_low", "contrast_low", "brightness_low", "evenness_low", "resolution_low"]
    assert high == ["noise_high", "brightness_high", "saturated_high", "black_high"]


def test_evenness_is_the_darkest_band_beside_its_neighbour() -> None:
    grey = np.full((60, 60), 99)
    grey[:, 20:30] = 49  # a band of a sixth of the width
    grey[:15] = 0  # the upper quarter does not count
    assert image_quality.measure(pixels(grey.astype(float)), 60, 60)["evenness"] == 0.5
