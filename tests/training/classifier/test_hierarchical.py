"""Two steps: together they are the classes; apart, each image teaches what it can."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sonoforge.training.classifier.losses import Shown, add_prevalence, hierarchical_loss, hierarchical_losses

GENERATOR = torch.Generator().manual_seed(3)
LOGITS = torch.randn(64, 4, generator=GENERATOR, dtype=torch.float64)
TRUTH = torch.randint(0, 4, (64,), generator=GENERATOR)


@pytest.mark.parametrize("healthy", range(4))
def test_both_steps_add_up_to_the_cross_entropy_of_the_classes(healthy: int) -> None:
    first, second = hierarchical_losses(LOGITS, TRUTH, healthy, 0.0)
    assert torch.allclose(first + second, F.cross_entropy(LOGITS, TRUTH, reduction="none"))
    assert (second[healthy == TRUTH] == 0).all()


def test_each_step_is_smoothed_as_a_classifier_of_its_own() -> None:
    first, second = hierarchical_losses(LOGITS[:, :3], TRUTH % 3, 0, 0.1)
    p = LOGITS[:, :3].softmax(dim=1)
    two = torch.stack([p[:, 0], p[:, 1] + p[:, 2]], dim=1).log()
    expected = F.cross_entropy(two, (TRUTH % 3 > 0).long(), reduction="none", label_smoothing=0.1)
    assert torch.allclose(first, expected)
    ill = TRUTH % 3 > 0
    expected = F.cross_entropy(LOGITS[ill][:, 1:3], TRUTH[ill] % 3 - 1, reduction="none", label_smoothing=0.1)
    assert torch.allclose(second[ill], expected)


def test_what_an_image_cannot_teach_moves_nothing() -> None:
    logits = LOGITS[:8, :3].clone().requires_grad_()
    truth = torch.tensor([1, 2, 1, 2, 0, 0, 1, 2])
    ill = (truth > 0).double()
    first, second = hierarchical_losses(logits, truth, 0, 0.0)
    teaches = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1], dtype=torch.float64)
    hierarchical_loss(first, second, teaches, ill, torch.ones(8, dtype=torch.float64)).backward()
    assert logits.grad is not None
    assert (logits.grad[:4, 0] == 0).all(), "of a collection of lesions alone, the healthy logit learns nothing"
    assert torch.allclose(logits.grad[:4].sum(dim=1), torch.zeros(4, dtype=torch.float64))
    assert (logits.grad[4:, 0] != 0).all()


def test_a_batch_that_teaches_nothing_costs_nothing() -> None:
    truth = torch.zeros(4, dtype=torch.long)
    first, second = hierarchical_losses(LOGITS[:4, :3], truth, 0, 0.1)
    nothing = torch.zeros(4, dtype=torch.float64)
    assert float(hierarchical_loss(first, second, nothing, nothing, nothing + 1)) == 0


def test_what_views_show_is_counted_by_their_kind_and_weight() -> None:
    shown = Shown(torch.device("cpu"))
    crops, ill = torch.tensor([False, False, False, True, True]), torch.tensor([True, True, False, True, False])
    for _ in range(1000):
        shown.add(crops, ill, torch.tensor([1.0, 1.0, 1.0, 3.0, 0.0]))
    odds = shown.log_odds(torch.tensor([False, True]))
    assert odds.tolist() == pytest.approx([np.log(2001 / 1001), np.log(3001 / 1)])


@pytest.mark.parametrize("healthy", range(3))
def test_a_prevalence_is_what_scans_get_that_say_nothing(healthy: int) -> None:
    """By Bayes' theorem: the odds of any scan are multiplied by the prevalence's."""
    logits = LOGITS[:, :3].clone()
    before = logits.softmax(dim=1)[:, healthy]
    bias = torch.zeros(3, dtype=torch.float64)
    add_prevalence(bias, healthy, 0.2)
    after = (logits + bias).softmax(dim=1)
    odds = before / (1 - before) * 0.2 / 0.8
    assert torch.allclose(after[:, healthy], odds / (1 + odds))
    others = [label for label in range(3) if label != healthy]
    rest = logits[:, others].softmax(dim=1)
    assert torch.allclose(after[:, others] / after[:, others].sum(dim=1, keepdim=True), rest)
