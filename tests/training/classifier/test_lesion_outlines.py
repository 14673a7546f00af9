"""The second task: where the lesion is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sonoforge.models.mobilenetv2 import mobilenet_v2
from sonoforge.models.zoomed_pass import OutlineHead
from sonoforge.training.classifier.fine_tuning import Batch, TrainingInputs, fit
from sonoforge.training.classifier.losses import Outlines, outline_loss
from sonoforge.training.classifier.settings import ClassifierSettings


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
