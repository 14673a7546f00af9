"""The distance to the nearest training image agrees with a slow search, and data-copying with its own definition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats

from scans import draw_scan
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.copies.nearest_training import data_copying, nearest_training

Pixels = NDArray[np.uint8]


def test_nearest_agrees_with_a_slow_search_pair_by_pair() -> None:
    images = np.stack([draw_scan(seed, 64) for seed in range(7)])[..., None]
    training = np.concatenate([images[3:], images[:1, :, ::-1]])

    def detail(image: Pixels) -> NDArray[np.float64]:
        small = image[..., 0].astype(float).reshape(32, 2, 32, 2).mean((1, 3))
        return small - ndimage.gaussian_filter(small, 2, mode="nearest")

    found = nearest_training(images, training)
    for number, image in enumerate(images):
        options = [
            (1 - float(np.corrcoef(detail(image).ravel(), detail(other[:, ::step]).ravel())[0, 1]), index, step < 0)
            for index, other in enumerate(training)
            for step in (1, -1)
        ]
        best = min(options)
        assert found.distance[number] == pytest.approx(best[0], abs=1e-5)
        assert (found.training_index[number], found.mirrored[number]) == best[1:]
    others = nearest_training(training, training, groups=np.array([0, 0, 1, 2, 2]))
    for number in range(5):
        allowed = [other for other in range(5) if [0, 0, 1, 2, 2][other] != [0, 0, 1, 2, 2][number]]
        expected = nearest_training(training[number : number + 1], training[allowed])
        assert others.distance[number] == pytest.approx(expected.distance[0], abs=1e-6)
        assert others.training_index[number] == allowed[expected.training_index[0, 0]]


def test_sizes_and_channels_need_not_agree_but_thumbnails_must() -> None:
    scan = draw_scan(0, 128)[None, :, :, None]
    half = scan.reshape(1, 64, 2, 64, 2, 1).mean((2, 4)).round().astype(np.uint8)
    assert nearest_training(scan, np.repeat(half, 3, axis=3)).distance[0] < 0.001
    odd = np.asarray(Image.fromarray(scan[0, :, :, 0]).resize((50, 50), Image.Resampling.BOX))[None, :, :, None]
    assert nearest_training(scan, odd).distance[0] < 0.05


def test_an_image_without_detail_is_no_copy_of_anything() -> None:
    blank = np.full((2, 64, 64, 1), 80, np.uint8)
    scan = draw_scan(0, 64)[None, :, :, None]
    with np.errstate(all="raise"):
        assert nearest_training(blank, np.concatenate([blank, scan])).distance.tolist() == [[1.0], [1.0]]


def test_data_copying_is_the_z_score_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(1)
    for shift in (-0.5, 0.0, 0.8):
        generated, real = rng.normal(shift, 1, 60), rng.normal(0, 1, 45)
        farther = (generated[:, None] > real[None]).sum()
        expected = (farther - 60 * 45 / 2) / np.sqrt(60 * 45 * 106 / 12)
        assert data_copying(generated, real) == pytest.approx(expected)
        p_value = stats.mannwhitneyu(generated, real, method="asymptotic", use_continuity=False).pvalue
        assert 2 * stats.norm.sf(abs(data_copying(generated, real))) == pytest.approx(p_value)
    assert data_copying(np.zeros(30), np.ones(30)) < -6 < 6 < data_copying(np.ones(30), np.zeros(30))
    ties = np.repeat([0.1, 0.2], 5)
    assert data_copying(ties, ties) == pytest.approx(0)


def test_one_group_has_no_other() -> None:
    images = np.stack([draw_scan(seed, 32) for seed in range(3)])[..., None]
    with pytest.raises(SonoforgeError, match="one near-duplicate group"):
        nearest_training(images, images, groups=np.zeros(3, np.int64))
