"""Pairs of image and label map: label maps, cleaning, distortion."""

from __future__ import annotations

import numpy as np
import torch

from disc_volumes import draw_pair
from sonoforge.training.segmentation.pairs import (
    Distortion,
    clean_maps,
    distort,
    distort_maps,
    to_label_maps,
    to_levels,
)


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in which each label has a level of its own, so that they tell the map, and the maps."""
    chance = np.random.default_rng(0)
    maps = torch.from_numpy(np.stack([draw_pair(chance)[1] for _ in range(count)])).long()
    return maps[:, None].float() / 2, maps


def test_label_maps_and_levels_are_each_others_inverse() -> None:
    maps = np.stack([draw_pair(np.random.default_rng(seed))[1] for seed in range(5)])
    assert (to_label_maps(to_levels(maps, 2)) == maps).all()
    shares = np.array([[[[100, 90], [200, 20]], [[128, 127], [0, 0]]]], np.uint8)
    assert to_label_maps(shares).tolist() == [[[1, 1], [1, 0]]], "the largest share, the background's included"


def test_small_pieces_are_cleared_and_large_ones_and_holes_stay() -> None:
    own = np.zeros((1, 32, 32), np.uint8)
    own[0, 2:12, 2:12] = 1  # 100 pixels with a hole
    own[0, 6, 6] = 0
    own[0, 20:24, 20:25] = 1  # 20: a fifth
    own[0, 28:30, 28:30] = 1  # 4
    own[0, 15, 2:5] = 2  # the largest piece of its structure
    cleaned = clean_maps(own)
    assert (cleaned[0, 28:30, 28:30] == 0).all()
    cleaned[0, 28:30, 28:30] = 1
    assert (cleaned == own).all(), "nothing else changed"


def test_distortion_moves_image_and_map_together() -> None:
    images, maps = draw(16)
    moved, moved_maps = distort(images, maps, torch.Generator().manual_seed(3), Distortion(contrast=0))
    again = (2 * moved[:, 0]).round().long()
    assert (again == moved_maps).float().mean() > 0.95, "but for pixels between two labels"
    assert (moved_maps != maps).float().mean() > 0.05, "something moved"
    assert 0.6 < (moved_maps > 0).float().mean() / (maps > 0).float().mean() < 1.6


def test_no_distortion_changes_nothing_and_a_seed_repeats_it() -> None:
    images, maps = draw(4)
    still = Distortion(0, 0, 0, 0, 0)
    same, same_maps = distort(images, maps, torch.Generator().manual_seed(0), still)
    torch.testing.assert_close(same, images, atol=1e-4, rtol=0)
    assert (same_maps == maps).all()
    one, other = (distort_maps(maps, torch.Generator().manual_seed(5)) for _ in range(2))
    assert (one == other).all() and (one != maps).any()


def test_levels_stay_between_black_and_white() -> None:
    images, maps = draw(8)
    changed, _ = distort(images, maps, torch.Generator().manual_seed(1), Distortion(contrast=0.9))
    assert changed.min() >= 0 and changed.max() <= 1
