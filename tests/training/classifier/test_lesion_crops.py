"""Crops with and without a lesion."""

from __future__ import annotations

import numpy as np
import pytest

from sonoforge.training.classifier.scan_views import SIDES, any_crop, crop_around, crop_without, lesion_box

SIZE = (120, 200)


def masked(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def test_the_box_of_a_mask() -> None:
    assert lesion_box(masked(50, 30, 90, 60)) == (50, 30, 90, 60)
    assert lesion_box(np.full(SIZE, 127, np.uint8)) is None


@pytest.mark.parametrize("box", [(50, 30, 90, 60), (0, 0, 20, 15), (150, 80, 200, 120)])
def test_windows_without_a_lesion_show_none_and_those_round_it_all(box: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(0)
    mask, levels = masked(*box), np.full(SIZE, 100, np.uint8)
    found = 0
    for _ in range(200):
        crop = crop_without(levels, box, rng)
        if crop is not None:
            found += 1
            left, top, right, bottom = crop
            assert not mask[top:bottom, left:right].any()
            assert SIDES[0] * 200 - 1 <= right - left <= SIDES[1] * 200 + 1
        left, top, right, bottom = crop_around(SIZE, box, rng)
        assert mask[top:bottom, left:right].sum() == mask.sum()
        assert 0 <= left < right <= 200 and 0 <= top < bottom <= 120
        assert right - left <= max(SIDES[1] * 200, box[2] - box[0]) + 1
    assert found > 150


def test_a_lesion_that_fills_the_picture_leaves_no_window_beside_it() -> None:
    rng = np.random.default_rng(0)
    assert crop_without(np.full(SIZE, 100, np.uint8), (10, 10, 190, 110), rng) is None
    assert crop_around(SIZE, (10, 10, 190, 110), rng)[0] <= 10


def test_black_margins_are_no_healthy_tissue() -> None:
    rng, levels = np.random.default_rng(0), np.zeros(SIZE, np.uint8)
    levels[:, 120:] = 100
    for _ in range(100):
        crop = crop_without(levels, (150, 0, 200, 120), rng)
        assert crop is None or levels[crop[1] : crop[3], crop[0] : crop[2]].mean() > 12


def test_windows_without_a_lesion_to_mind_are_anywhere() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([any_crop(SIZE, rng) for _ in range(400)])
    assert boxes[:, 0].min() == 0 and boxes[:, 2].max() == 200 and boxes[:, 3].max() == 120
    assert (boxes[:, 2] - boxes[:, 0]).min() >= SIDES[0] * 200 - 1
