"""Dice, IoU and HD95 against closed forms and MONAI's own metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from disc_volumes import draw_pair
from sonoforge.training.segmentation.scoring import hausdorff_95, score_case


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


def test_the_distance_is_symmetric_and_nought_for_equal_outlines() -> None:
    chance = np.random.default_rng(2)
    one, other = (draw_pair(chance)[1][None] == 1 for _ in range(2))
    assert hausdorff_95(one, one, (1, 1)) == 0
    assert hausdorff_95(one, other, (1, 2)) == hausdorff_95(other, one, (1, 2))
