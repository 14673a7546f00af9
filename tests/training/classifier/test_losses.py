"""The two steps of the hierarchical loss, and the outline task."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sonoforge.models.mobilenetv2 import OutlineHead, mobilenet_v2
from sonoforge.training.classifier.fine_tuning import Batch, TrainingInputs, fit
from sonoforge.training.classifier.losses import (
    Outlines,
    Shown,
    add_prevalence,
    hierarchical_loss,
    hierarchical_losses,
    outline_loss,
)
from sonoforge.training.classifier.settings import ClassifierSettings

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


def outlines(known: float = 1.0) -> Outlines:
    """Two views of 32 pixels: the left half is lesion, and none."""
    masks = torch.zeros(2, 32, 32)
    masks[0, :, :16] = 1
    return Outlines(masks, torch.tensor([1.0, known]))


def test_the_loss_is_cross_entropy_and_dice_of_cells() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.0]]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    said = 1 / (1 + np.exp(-logits.numpy().astype(float)))
    truth = np.zeros((2, 1, 2, 2))
    truth[0, 0, :, 0] = 1
    entropy = -(truth * np.log(said) + (1 - truth) * np.log(1 - said)).mean()
    dice = (2 * (said * truth).sum() + 1) / (said.sum() + truth.sum() + 1)
    assert float(outline_loss(logits, outlines())) == pytest.approx(entropy + 1 - dice, rel=1e-5)


def test_a_right_outline_costs_nothing_and_an_unknown_one_teaches_nothing() -> None:
    right = torch.full((2, 1, 2, 2), -30.0)
    right[0, 0, :, 0] = 30
    assert float(outline_loss(right, outlines())) == pytest.approx(0, abs=1e-6)
    wrong = right.clone()
    wrong[1] = 30
    wrong.requires_grad_()
    assert outline_loss(wrong, outlines(known=0.0)).item() == pytest.approx(0, abs=1e-6)
    outline_loss(wrong, outlines(known=0.0)).backward()
    assert wrong.grad is not None and not wrong.grad[1].any()
    nothing = Outlines(torch.zeros(2, 32, 32), torch.zeros(2))
    assert float(outline_loss(right, nothing)) == 0


def test_the_head_answers_each_cell() -> None:
    assert OutlineHead()(torch.zeros(3, 96, 14, 14)).shape == (3, 1, 14, 14)


def test_learning_outlines_changes_the_blocks_before_them_and_continues_where_it_was_killed(tmp_path: Path) -> None:
    labels = np.arange(8) % 3
    maps, masks = torch.rand(8, 96, 4, 4), torch.zeros(8, 64, 64)
    masks[labels > 0, 20:40, 20:40] = 1

    def batch(indices: np.ndarray, _rng: np.random.Generator) -> Batch:
        places = torch.from_numpy(indices)
        return Batch(maps[places], outlines=Outlines(masks[places], torch.ones(len(places))))

    inputs = TrainingInputs(batch, labels)
    settings = ClassifierSettings(frozen_blocks=12, epochs=3, batch=4, heads="hierarchical", outlines=1.0)

    def trained(settings: ClassifierSettings, checkpoint: Path | None = None, last: int = 3) -> dict[str, torch.Tensor]:
        def kill(row: dict[str, float]) -> None:
            if row["epoch"] == last < settings.epochs:
                raise KeyboardInterrupt

        torch.manual_seed(0)
        net = mobilenet_v2(3)
        fit(net, inputs, settings, 3, checkpoint=checkpoint, on_epoch=kill)
        state: dict[str, torch.Tensor] = net.state_dict()
        return state

    whole = trained(settings)
    with pytest.raises(KeyboardInterrupt):
        trained(settings, tmp_path / "c.pt", last=2)
    continued = trained(settings, tmp_path / "c.pt")
    assert whole.keys() == mobilenet_v2(3).state_dict().keys()
    assert all(torch.equal(value, continued[key]) for key, value in whole.items())
    without = trained(dataclasses.replace(settings, outlines=0.0))
    changed = {key.split(".")[1] for key, value in whole.items() if not torch.equal(value, without[key])}
    assert {"12", "13"} <= changed
