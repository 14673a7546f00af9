"""MS-SSIM against a slow implementation of the paper's equations, and on varied and collapsed sets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from scans import draw_scan
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.metrics import draw_pairs, mean_ms_ssim, pair_ms_ssim, scale_weights

Pixels = NDArray[np.uint8]


def _scans(count: int, side: int, channels: int = 1, seed: int = 0) -> Pixels:
    layers = [np.stack([draw_scan(seed + 100 * c + i, side) for i in range(count)]) for c in range(channels)]
    return np.stack(layers, axis=-1)


def _variant(images: Pixels, seed: int, strength: float) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, strength, images.shape)
    return np.clip(0.8 * images + 10 + noise, 0, 255).astype(np.uint8)


def _slow_ms_ssim(first: Pixels, second: Pixels, scales: int) -> float:
    """Wang 2003, equations 1 to 7, channel by channel, with scipy's Gaussian on 0..255."""
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    weights = weights / weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    a, b = first.astype(float), second.astype(float)
    product = 1.0
    for scale in range(scales):
        found = []
        for channel in range(a.shape[2]):
            x, y = a[..., channel], b[..., channel]

            def blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
                return ndimage.gaussian_filter(image, 1.5, truncate=5 / 1.5, mode="mirror")

            mean_x, mean_y = blur(x), blur(y)
            spread = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
            structure = (2 * (blur(x * y) - mean_x * mean_y) + c2) / (spread + c2)
            if scale < scales - 1:
                found.append(structure[5:-5, 5:-5].mean())
            else:
                luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
                found.append((luminance * structure).mean())
        product *= max(float(np.mean(found)), 0.0) ** weights[scale]
        side = a.shape[0] // 2 * 2
        a, b = (image[:side, :side].reshape(side // 2, 2, side // 2, 2, -1).mean((1, 3)) for image in (a, b))
    return product


@pytest.mark.parametrize(
    ("side", "channels", "scales"),
    [(11, 1, 1), (21, 1, 1), (22, 1, 2), (32, 3, 2), (64, 1, 3), (64, 3, 3), (87, 1, 3), (128, 1, 4), (176, 1, 5)],
)
def test_pairs_agree_with_the_equations(side: int, channels: int, scales: int) -> None:
    images = _scans(3, side, channels)
    first = np.concatenate([images, images[:1]])
    second = np.concatenate([_variant(images, 1, 12.0), images[1:2]])  # three likenesses, one unrelated pair
    expected = [_slow_ms_ssim(a, b, scales) for a, b in zip(first, second, strict=True)]
    assert len(scale_weights(side)) == scales
    assert pair_ms_ssim(first, second) == pytest.approx(expected, abs=1e-4)
    assert min(expected[:3]) > 0.2


def test_five_scales_are_those_of_the_paper() -> None:
    assert scale_weights(176) == pytest.approx((0.0448, 0.2856, 0.3001, 0.2363, 0.1333), abs=1e-4)
    assert scale_weights(4096) == scale_weights(176)
    assert sum(scale_weights(64)) == pytest.approx(1)
    assert scale_weights(64)[1] / scale_weights(64)[0] == pytest.approx(0.2856 / 0.0448)


def test_a_collapsed_set_is_more_alike_than_a_varied_one() -> None:
    varied = mean_ms_ssim(_scans(8, 64))
    alike = mean_ms_ssim(_variant(np.repeat(_scans(1, 64), 8, axis=0), 0, 10.0))
    equal = mean_ms_ssim(np.repeat(_scans(1, 64), 8, axis=0))
    assert varied.value + 5 * varied.standard_error < alike.value < equal.value
    assert equal.value == pytest.approx(1, abs=1e-5)
    assert equal.standard_error == pytest.approx(0, abs=1e-6)


def test_mean_over_all_pairs_and_its_jackknife_error() -> None:
    images = _scans(6, 44)
    values = {
        (i, j): float(pair_ms_ssim(images[i : i + 1], images[j : j + 1])[0])
        for i, j in itertools.combinations(range(6), 2)
    }
    found = mean_ms_ssim(images, pairs=999)
    assert found.note == "15 pairs, 3 scales"
    assert found.value == pytest.approx(np.mean(list(values.values())), abs=1e-6)
    without = [np.mean([v for pair, v in values.items() if left not in pair]) for left in range(6)]
    assert found.standard_error == pytest.approx(np.sqrt(5 / 6 * np.sum((without - np.mean(without)) ** 2)), abs=1e-6)


@pytest.mark.parametrize(("count", "pairs"), [(3, 2), (7, 21), (7, 500), (40, 300), (20_000, 1000)])
def test_drawn_pairs_are_different_pairs_of_different_images(count: int, pairs: int) -> None:
    first, second = draw_pairs(count, pairs, seed=4)
    assert len(first) == min(pairs, count * (count - 1) // 2) == len(set(zip(first, second, strict=True)))
    assert (first >= 0).all() and (first < second).all() and (second < count).all()
    again = draw_pairs(count, pairs, seed=4)
    assert (first == again[0]).all() and (second == again[1]).all()


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(SonoforgeError, match="images of 10 pixels"):
        mean_ms_ssim(_scans(4, 10))
    with pytest.raises(SonoforgeError, match="2 images and 1000 pairs"):
        mean_ms_ssim(_scans(2, 32))
    with pytest.raises(SonoforgeError, match="4 images and 0 pairs"):
        mean_ms_ssim(_scans(4, 32), pairs=0)
