"""Pairs of image and label map; Dice, IoU and HD95 against closed forms and MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from disc_volumes import draw_pair
from sonoforge.training.segmentation import pairs
from sonoforge.training.segmentation.pairs import (
    clean_maps,
    distort,
    distort_maps,
    to_label_maps,
    to_levels,
)
from sonoforge.training.segmentation.scoring import score_case


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


def test_distortion_moves_image_and_map_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "CONTRAST", 0)
    images, maps = draw(16)
    moved, moved_maps = distort(images, maps, torch.Generator().manual_seed(3))
    again = (2 * moved[:, 0]).round().long()
    assert (again == moved_maps).float().mean() > 0.95, "but for pixels between two labels"
    assert (moved_maps != maps).float().mean() > 0.05, "something moved"
    assert 0.6 < (moved_maps > 0).float().mean() / (maps > 0).float().mean() < 1.6


def test_no_distortion_changes_nothing_and_a_seed_repeats_it() -> None:
    images, maps = draw(4)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DEGREES", "SCALE", "SHIFT", "BEND", "CONTRAST"):
            patch.setattr(pairs, name, 0)
        same, same_maps = distort(images, maps, torch.Generator().manual_seed(0))
    torch.testing.assert_close(same, images, atol=1e-4, rtol=0)
    assert (same_maps == maps).all()
    one, other = (distort_maps(maps, torch.Generator().manual_seed(5)) for _ in range(2))
    assert (one == other).all() and (one != maps).any()


def square(top: int, left: int, side: int, size: int = 40) -> np.ndarray:
    """A stack of one slice with a square of label 1."""
    map_ = np.zeros((1, size, size), np.uint8)
    map_[0, top : top + side, left : left + side] = 1
    return map_


def test_shifted_squares_have_the_scores_of_the_closed_form() -> None:
    """Squares of side 10, 3 apart: they share 7 * 10 pixels of 100 each, and the farther edges lie 3 apart."""
    found = score_case(square(5, 5, 10), square(5, 8, 10), 1, (1.0, 1.0))
    assert found.dice == pytest.approx(2 * 70 / 200)
    assert found.iou == pytest.approx(70 / 130)
    assert found.hd95 == 3
    assert score_case(square(5, 5, 10), square(5, 8, 10), 1, (1.0, 0.5)).hd95 == 1.5, "across, pixels are 0.5 apart"


def test_scores_agree_with_monai() -> None:
    metrics = pytest.importorskip("monai.metrics")  # slow to import
    chance = np.random.default_rng(1)
    for _ in range(20):
        true, found = (draw_pair(chance)[1][None] for _ in range(2))
        for label in (1, 2):
            own = score_case(true, found, label, (2.0, 0.7))
            pair = [torch.from_numpy((part == label)[None].astype(np.float32)) for part in (found, true)]
            dice = metrics.compute_dice(*pair).item()
            iou = metrics.compute_iou(*pair).item()
            distance = metrics.compute_hausdorff_distance(
                *pair, percentile=95, include_background=True, spacing=(2.0, 0.7)
            )
            assert own.dice == pytest.approx(dice, abs=1e-6)
            assert own.iou == pytest.approx(iou, abs=1e-6)
            assert own.hd95 == pytest.approx(distance.item(), rel=1e-4)


def test_a_stack_is_scored_as_one_case() -> None:
    """Dice counts all pixels of the stack; an outline is compared with that of its own slice alone."""
    true = np.concatenate([square(5, 5, 10), square(5, 5, 10)])
    found = np.concatenate([square(5, 5, 10), square(5, 25, 10)])
    own = score_case(true, found, 1, (1.0, 1.0))
    assert own.dice == pytest.approx(0.5)
    assert own.hd95 == 20


def test_what_is_absent_has_no_dice_and_may_be_invented_or_missed() -> None:
    empty, there = np.zeros((1, 40, 40), np.uint8), square(5, 5, 10)
    nothing = score_case(empty, empty, 1, (1.0, 1.0))
    assert np.isnan(nothing.dice) and np.isnan(nothing.hd95) and not nothing.invented
    invented = score_case(empty, there, 1, (1.0, 1.0))
    assert np.isnan(invented.dice) and invented.invented
    missed = score_case(there, empty, 1, (1.0, 1.0))
    assert missed.dice == missed.iou == 0 and np.isnan(missed.hd95) and not missed.invented
