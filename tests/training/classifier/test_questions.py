"""Two questions: together they are the classes; apart, each image teaches what it can."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sonoforge.training.classifier.questions import question_loss, question_losses

GENERATOR = torch.Generator().manual_seed(3)
LOGITS = torch.randn(64, 4, generator=GENERATOR, dtype=torch.float64)
TRUTH = torch.randint(0, 4, (64,), generator=GENERATOR)


@pytest.mark.parametrize("healthy", range(4))
def test_both_steps_add_up_to_the_cross_entropy_of_the_classes(healthy: int) -> None:
    first, second = question_losses(LOGITS, TRUTH, healthy, 0.0)
    assert torch.allclose(first + second, F.cross_entropy(LOGITS, TRUTH, reduction="none"))
    assert (second[healthy == TRUTH] == 0).all()


def test_each_step_is_smoothed_as_a_classifier_of_its_own() -> None:
    first, second = question_losses(LOGITS[:, :3], TRUTH % 3, 0, 0.1)
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
    first, second = question_losses(logits, truth, 0, 0.0)
    teaches = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1], dtype=torch.float64)
    question_loss(first, second, teaches, ill, torch.ones(8, dtype=torch.float64)).backward()
    assert logits.grad is not None
    assert (logits.grad[:4, 0] == 0).all(), "of a collection of lesions alone, the healthy logit learns nothing"
    assert torch.allclose(logits.grad[:4].sum(dim=1), torch.zeros(4, dtype=torch.float64))
    assert (logits.grad[4:, 0] != 0).all()


def test_a_batch_that_teaches_nothing_costs_nothing() -> None:
    truth = torch.zeros(4, dtype=torch.long)
    first, second = question_losses(LOGITS[:4, :3], truth, 0, 0.1)
    nothing = torch.zeros(4, dtype=torch.float64)
    assert float(question_loss(first, second, nothing, nothing, nothing + 1)) == 0
